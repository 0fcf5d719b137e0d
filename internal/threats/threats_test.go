package threats_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/internal/threats"
)

// areas are those whose rows must all be met by now.
var areas = []string{"MQTT", "libp2p / private networks by domain", "The eleven holes of IPDC-2018"}

const root = "../.."

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// sources are the tests of the module.
func sources(t *testing.T) (ids []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "build" || strings.HasPrefix(d.Name(), ".") && path != root):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		b, err := os.ReadFile(path)
		ids = append(ids, threats.Tested(string(b))...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

func TestEachThreatHasATest(t *testing.T) {
	rows, err := threats.Parse(read(t, "docs/threats.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	tested, explained := sources(t), threats.Explained(read(t, "docs/threats.md"))
	due := slices.DeleteFunc(slices.Clone(rows), func(r threats.Row) bool { return r.Priority > 0 || !slices.Contains(areas, r.Area) })
	if len(due) < 30 {
		t.Fatalf("%d rows of %q: the table or the areas are not what they were", len(due), areas)
	}
	for _, r := range threats.Missing(due, tested, explained) {
		t.Errorf("%s (%s): no test is named by it, and docs/threats.md does not say why: %s", r.ID, r.Area, r.Attack)
	}
	for _, id := range explained {
		if !slices.ContainsFunc(rows, func(r threats.Row) bool { return r.ID == id }) {
			t.Errorf("docs/threats.md explains %s, which is no row", id)
		}
	}
}

func TestMissing(t *testing.T) {
	const head = "id\tarea\tattack\texpected\tlevel\n"
	rows, err := threats.Parse(head + "A01\tx\ta\tb\tU0\nA02\tx\ta\tb\tX0\nA03\tx\ta\tb\tD1\nA04\tx\ta\tb\tB2\n")
	if err != nil {
		t.Fatal(err)
	}
	source := "func TestA01A02Both(t *testing.T) {}\n// func TestA03(t)\nfunc helperA03() {}\n\tt.Run(\"A03\", nil)\n"
	var got []string
	for _, r := range threats.Missing(rows, threats.Tested(source), threats.Explained("- A04: there is none.\n- A03:\n")) {
		got = append(got, r.ID)
	}
	if diff := cmp.Diff([]string{"A03"}, got); diff != "" {
		t.Errorf("missing (-want +got):\n%s", diff)
	}
	for _, bad := range []string{"A1\tx\ta\tb\tU0\n", "A01\tx\ta\tU0\n", "A01\tx\ta\tb\tU3\n", "A01\tx\ta\tb\tU0\nA01\tx\ta\tb\tU0\n"} {
		if _, err := threats.Parse(head + bad); err == nil {
			t.Errorf("Parse(%q) succeeds", bad)
		}
	}
}
