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

const root = "../.."

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// tables are the rows of both, ids of which are all different.
func tables(t *testing.T) (rows []threats.Row) {
	t.Helper()
	for _, name := range []string{"threats.tsv", "faults.tsv"} {
		some, err := threats.Parse(read(t, filepath.Join(root, "docs", name)))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		rows = append(rows, some...)
	}
	return rows
}

// sources are the ids of the tests of the module.
func sources(t *testing.T) (ids []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "build" || d.Name() == "threats" || strings.HasPrefix(d.Name(), ".") && path != root):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		some, err := threats.Tested(read(t, path))
		ids = append(ids, some...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// TestEachRowHasATest reads testdata/open.txt as well: rows that have no test
// yet. It can only get shorter.
func TestEachRowHasATest(t *testing.T) {
	rows := tables(t)
	due := slices.DeleteFunc(slices.Clone(rows), func(r threats.Row) bool { return !r.Due() })
	if len(due) < 250 {
		t.Fatalf("%d rows are due: the tables or the areas are not what they were", len(due))
	}
	tested, explained := sources(t), threats.Explained(read(t, filepath.Join(root, "docs/threats.md")))
	open := strings.Fields(read(t, "testdata/open.txt"))
	for _, r := range threats.Missing(due, tested, explained, open) {
		t.Errorf("%s (%s): no test is named by it, and docs/threats.md does not say why: %s", r.ID, r.Area, r.Attack)
	}
	for _, r := range due {
		if slices.Contains(open, r.ID) && slices.Contains(slices.Concat(tested, explained), r.ID) {
			t.Errorf("%s has a test or a line in docs/threats.md now; take it off the list: sed -i /%s/d internal/threats/testdata/open.txt", r.ID, r.ID)
		}
	}
	for _, id := range slices.Concat(explained, open) {
		if !slices.ContainsFunc(rows, func(r threats.Row) bool { return r.ID == id }) {
			t.Errorf("%s is explained in docs/threats.md or on the list of open rows, and is no row", id)
		}
	}
}

func TestMissing(t *testing.T) {
	const head = "id\tarea\tattack\texpected\tlevel/priority\n"
	rows, err := threats.Parse(head + "A01\tx\ta\tb\tU0\nA02\tx\ta\tb\tX0\nA03\tx\ta\tb\tD1\nA04\tx\ta\tb\tB2\n")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range threats.Missing(rows, []string{"A01", "A02"}, threats.Explained("- A04: there is none.\n- A03:\n")) {
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
	faults, err := threats.Parse("id\tarea\tfault\tguarantee\thow to inject\nF01\tFaults\ta\tb\tkill it\n")
	if want := []threats.Row{{ID: "F01", Area: "Faults", Attack: "a", Expected: "b"}}; err != nil || !cmp.Equal(faults, want) {
		t.Errorf("Parse of faults = %+v, %v, want %+v", faults, err, want)
	}
}
