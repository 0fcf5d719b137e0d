package threats_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/internal/threats"
)

// TestEachGuaranteeHasItsTests reads the page and the sources: who renames a
// test that the page names mends the page.
func TestEachGuaranteeHasItsTests(t *testing.T) {
	list, err := threats.Guarantees(read(t, filepath.Join(root, "docs/guarantees.md")))
	if err != nil {
		t.Fatal(err)
	}
	if len(list) < 15 {
		t.Errorf("docs/guarantees.md has %d guarantees", len(list))
	}
	for _, g := range list {
		for _, test := range g.Tests {
			files, err := filepath.Glob(filepath.Join(root, test.Package, "*_test.go"))
			if err != nil {
				t.Fatal(err)
			}
			found := false
			for _, file := range files {
				found = found || strings.Contains(read(t, file), "\nfunc "+test.Name+"(t *testing.T)")
			}
			if !found {
				t.Errorf("docs/guarantees.md, %s: there is no %s in %s; if it has another name now, write that", g.ID, test.Name, test.Package)
			}
		}
	}
}

func TestGuarantees(t *testing.T) {
	got, err := threats.Guarantees("# Page\n| | promise | shown by |\n|---|---|---|\n" +
		"| G01 | 2 of 3 hold. | `ipfs/tree TestA`, `e2e TestB` |\n| G03 | More. | `bus TestC` |\n\nText.\n")
	want := []threats.Guarantee{
		{"G01", "2 of 3 hold.", []threats.Test{{"ipfs/tree", "TestA"}, {"e2e", "TestB"}}},
		{"G03", "More.", []threats.Test{{"bus", "TestC"}}},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("Guarantees: %v (-want +got):\n%s", err, diff)
	}
	for _, bad := range []string{"| G01 | no test |", "| G1 | x | `a TestB` |", "| G01 | x | a test |", "| G02 | x | `a TestB` |\n| G01 | x | `a TestB` |"} {
		if _, err := threats.Guarantees(bad); err == nil {
			t.Errorf("Guarantees(%q) succeeds", bad)
		}
	}
}
