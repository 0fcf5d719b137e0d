package threats_test

import (
	"path/filepath"
	"slices"
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
			if !written(t, test) {
				t.Errorf("docs/guarantees.md, %s: there is no %s in %s; if it has another name now, write that", g.ID, test.Name, test.Package)
			}
		}
	}
}

// TestEachTestOfThreatsIsThere does the same for docs/threats.md.
func TestEachTestOfThreatsIsThere(t *testing.T) {
	list, err := threats.NamedTests(read(t, filepath.Join(root, "docs/threats.md")))
	if err != nil {
		t.Fatalf("docs/threats.md: %v", err)
	}
	if len(list) < 20 {
		t.Errorf("docs/threats.md names %d tests", len(list))
	}
	for _, test := range list {
		if !written(t, test) {
			t.Errorf("docs/threats.md: there is no %s in %s; if it has another name now, write that", test.Name, test.Package)
		}
	}
}

// written says whether a test file of the package has the test.
func written(t *testing.T, test threats.Test) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, test.Package, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(files, func(file string) bool { return test.In(read(t, file)) })
}

func TestNamedTests(t *testing.T) {
	got, err := threats.NamedTests("| a | b | e2e `TestA` and more; bus/mqtt `TestB`, `TestC...`, P01 |\nin ipfs/car `TestD`.\n")
	if diff := cmp.Diff([]threats.Test{{"e2e", "TestA"}, {"bus/mqtt", "TestB"}, {"bus/mqtt", "TestC..."}, {"ipfs/car", "TestD"}}, got); err != nil || diff != "" {
		t.Errorf("NamedTests: %v (-want +got):\n%s", err, diff)
	}
	if got, err := threats.NamedTests("e2e `TestA`; `TestB`\n"); err == nil {
		t.Errorf("a test without a package = %v", got)
	}
	const source = "package x\n\nfunc TestAB(t *testing.T) {}\n"
	for name, want := range map[string]bool{"TestAB": true, "TestA...": true, "TestA": false, "TestB": false, "TestB...": false} {
		if got := (threats.Test{Name: name}).In(source); got != want {
			t.Errorf("In of %s = %v", name, got)
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
