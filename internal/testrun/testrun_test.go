package testrun_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/internal/testrun"
)

var update = flag.Bool("update", false, "write testdata/*.golden")

// Streams of real runs, by the packages whose names they have.
func TestPrint(t *testing.T) {
	streams, err := filepath.Glob("testdata/*.json")
	if err != nil || len(streams) == 0 {
		t.Fatalf("%d streams, %v", len(streams), err)
	}
	for _, path := range streams {
		t.Run(filepath.Base(path), func(t *testing.T) {
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			var got bytes.Buffer
			if err := testrun.Print(f, &got, &got, func(testrun.Event) {}); err != nil {
				t.Fatal(err)
			}
			golden := strings.TrimSuffix(path, ".json") + ".golden"
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("Print(%s) (-want +got):\n%s", path, diff)
			}
		})
	}
}

func events(t *testing.T, stream string, summary *bytes.Buffer) (got []testrun.Event, out string) {
	t.Helper()
	var b bytes.Buffer
	if err := testrun.Print(strings.NewReader(stream), &b, summary, func(e testrun.Event) { got = append(got, e) }); err != nil {
		t.Fatal(err)
	}
	return got, b.String()
}

func TestEvents(t *testing.T) {
	stream, err := os.ReadFile("testdata/good.json")
	if err != nil {
		t.Fatal(err)
	}
	var summary bytes.Buffer
	got, out := events(t, string(stream), &summary)
	const pkg = "example.org/rec/good"
	want := []testrun.Event{
		{Package: pkg, Test: "TestA01A02Both", Action: "pass"}, {Package: pkg, Test: "TestNames/A07_skipped", Action: "skip"}, {Package: pkg, Test: "TestNames/A04_NUL_in_a_name", Action: "pass"},
		{Package: pkg, Test: "TestNames/A05_A06_two", Action: "pass"}, {Package: pkg, Test: "TestNames/plain", Action: "pass"}, {Package: pkg, Test: "TestNames", Action: "pass"},
		{Package: pkg, Test: "FuzzA08/seed#0", Action: "pass"}, {Package: pkg, Test: "FuzzA08", Action: "pass"}, {Package: pkg, Action: "pass", Took: 10 * time.Millisecond},
	}
	byTest := func(a, b testrun.Event) int { return strings.Compare(a.Test, b.Test) }
	slices.SortFunc(got, byTest)
	slices.SortFunc(want, byTest)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if out != "" || !strings.HasPrefix(summary.String(), "ok  \t"+pkg) {
		t.Errorf("prints %q and %q, want the package's line as summary only", out, summary.String())
	}
}

// What another program says in between is passed on, and what was said before
// the end of a stream that breaks off, too.
func TestBrokenOff(t *testing.T) {
	_, out := events(t, "sudo: a warning\n"+
		`{"Action":"output","Package":"p","Test":"TestA","Output":"half a li"}`+"\n"+
		`{"Action":"output","Package":"p","Test":"TestA","Output":"ne\n"}`+"\nno end", &bytes.Buffer{})
	if want := "sudo: a warning\nno endhalf a line\n"; out != want {
		t.Errorf("printed %q, want %q", out, want)
	}
}

// A race that is reported while a test runs that passes is not lost.
func TestRace(t *testing.T) {
	_, out := events(t, `{"Action":"output","Package":"p","Test":"TestA","Output":"WARNING: DATA RACE\n"}`+"\n"+
		`{"Action":"pass","Package":"p","Test":"TestA"}`+"\n"+`{"Action":"fail","Package":"p"}`+"\n", &bytes.Buffer{})
	if want := "WARNING: DATA RACE\n"; out != want {
		t.Errorf("printed %q, want %q", out, want)
	}
}

// A test that a time limit cut has failed, though no event says so; one that had
// passed beside it has not.
func TestCutOff(t *testing.T) {
	stream, err := os.ReadFile("testdata/beside.json")
	if err != nil {
		t.Fatal(err)
	}
	got, _ := events(t, string(stream), &bytes.Buffer{})
	const pkg = "example.org/rec/beside"
	want := []testrun.Event{{Package: pkg, Test: "TestPasses", Action: "pass"}, {Package: pkg, Test: "TestHangs", Action: "fail"}, {Package: pkg, Action: "fail", Took: 1008 * time.Millisecond}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// The exit code is the command's.
func TestRun(t *testing.T) {
	for script, want := range map[string]int{"true": 0, "exit 1": 1, "exit 2": 2, "kill -9 $$": 1} {
		var out bytes.Buffer
		code, err := testrun.Run(t.Context(), []string{"sh", "-c", "echo seen; " + script}, &out, &out, func(testrun.Event) {})
		if code != want || (err != nil) != strings.Contains(script, "kill") || out.String() != "seen\n" {
			t.Errorf("Run(%q) = %d, %v, and prints %q, want %d", script, code, err, out.String(), want)
		}
	}
	if _, err := testrun.Run(t.Context(), []string{"/nonexistent"}, nil, nil, nil); err == nil {
		t.Error("Run of a program that is not there succeeds")
	}
}
