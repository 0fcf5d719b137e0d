package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/internal/testrun"
	"github.com/ipdc/ipdc/internal/threats"
)

func TestCount(t *testing.T) {
	row := func(id, area string, priority int) threats.Row {
		return threats.Row{ID: id, Area: area, Priority: priority}
	}
	lists := [][]threats.Row{{
		row("A01", "x", 0), row("A02", "x", 0), row("A03", "x", 1), row("A04", "x", 0), row("A05", "x", 0), row("A06", "x", 0),
		row("A07", "x", 2), row("A08", "x", 2), row("A09", "x", 0), row("A10", "x", 0), row("E01", "Chain / payments", 0),
	}, {row("B01", "Faults", 0), row("F71", "Faults", 0)}}
	all := ends{
		"pass TestA01Shown", "pass TestTable/A02_here", "fail TestTable/A02_there", "skip TestTable/A03_no_engine",
		"pass TestMore/A04_whole", "skip TestMore/runsc/A04_whole", "pass TestA08Early", "fail TestB01", "",
		"pass TestTable/A09_part", "skip TestA09Whole", "skip TestA10Whole", "pass TestA10Whole",
	}
	want := `threat rows: 4 of 9 proven, 1 explained in docs/threats.md, 2 of parts that come later
fault rows: 0 of 1 proven, 0 explained in docs/threats.md, 1 of parts that come later
  A02: failed
  A03: skipped: TestTable/A03_no_engine
  A04: skipped: TestMore/runsc/A04_whole
  A09: skipped: TestA09Whole
  A10: skipped: TestA10Whole
  B01: failed
  no test named by them has run: A06
`
	if diff := cmp.Diff(want, count(lists, all, []string{"A05"})); diff != "" {
		t.Errorf("count (-want +got):\n%s", diff)
	}
}

// Two runs, as make test has them: the count is of both, comes before the last
// line of go test, and the exit code is that of the tests.
func TestRunTwice(t *testing.T) {
	t.Chdir("../..")
	dir := t.TempDir()
	kept := filepath.Join(dir, "build", "ran")
	stream := func(name, test, end string) []string {
		path := filepath.Join(dir, name)
		text := `{"Action":"` + end + `","Package":"p","Test":"` + test + `"}
{"Action":"output","Package":"p","Output":"` + map[string]string{"pass": "ok  \\tp\\t0.1s", "fail": "FAIL\\tp\\t0.1s"}[end] + `\n"}
{"Action":"` + end + `","Package":"p"}
`
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return []string{"sh", "-c", "cat " + path + "; exit " + map[string]string{"pass": "0", "fail": "3"}[end]}
	}
	var first, second bytes.Buffer
	code, err := run(t.Context(), append([]string{"run", "-to", kept, "--"}, stream("a", "TestZ01Shell", "pass")...), &first)
	if code != 0 || err != nil || first.String() != "ok  \tp\t0.1s\n" {
		t.Errorf("run = %d, %v, and prints %q", code, err, first.String())
	}
	code, err = run(t.Context(), append([]string{"run", "-count", "-to", kept, "--"}, stream("b", "TestF01Kill", "fail")...), &second)
	if code != 3 || err != nil {
		t.Errorf("run = %d, %v, want the exit code 3", code, err)
	}
	out := second.String()
	if !strings.HasPrefix(out, "threat rows: 1 of ") || !strings.Contains(out, "\nfault rows: 0 of ") || !strings.Contains(out, "  F01: failed\n") ||
		!strings.HasSuffix(out, "\nFAIL\tp\t0.1s\nFAIL\n") {
		t.Errorf("the second run prints %s", out)
	}
	for _, wrong := range [][]string{nil, {"walk"}, {"run"}, {"run", "-x"}} {
		if code, err := run(t.Context(), wrong, &bytes.Buffer{}); code != 2 || err == nil {
			t.Errorf("run(%q) = %d, %v, want a refusal", wrong, code, err)
		}
	}
}

// The slowest tests are named, parts of them are not.
func TestSlowest(t *testing.T) {
	var l times
	for _, e := range []testrun.Event{
		{Package: "p/sidecar", Test: "TestFast", Action: "pass", Took: time.Second},
		{Package: "p/sidecar", Test: "TestSlow", Action: "pass", Took: 12 * time.Second},
		{Package: "p/sidecar", Test: "TestSlower", Action: "fail", Took: 70 * time.Second},
		{Package: "p/sidecar", Test: "TestSlower/part", Action: "fail", Took: 69 * time.Second},
		{Package: "p/sidecar", Action: "fail", Took: 100 * time.Second},
	} {
		l.add(e)
	}
	if got, want := l.slowest(), "slowest tests: sidecar TestSlower 70 s, sidecar TestSlow 12 s\n"; got != want {
		t.Errorf("slowest = %q, want %q", got, want)
	}
	file := filepath.Join(t.TempDir(), "rows.times")
	if err := l.save(file); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if want := "70.0 p/sidecar TestSlower\n12.0 p/sidecar TestSlow\n1.0 p/sidecar TestFast\n"; err != nil || string(b) != want {
		t.Errorf("saved %q, %v, want %q", b, err, want)
	}
}
