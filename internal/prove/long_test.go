package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// A campaign that fails in its second round goes on there the next time, and
// the page tells of what has passed, and of which code.
func TestLongGoesOn(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "p/a_test.go", "package p\n\nfunc FuzzThis(f *testing.F) {}\n")
	git := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-c", "user.name=a", "-c", "user.email=a@example.org"}, args...)...)
		b, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %s: %v\n%s", args, err, b)
		}
		return strings.TrimSpace(string(b))
	}
	git("init", "-q")
	git("add", "p")
	git("commit", "-qm", "one")
	first := git("log", "-1", "--format=%h")
	fake := program(t, `echo "$IPDC_PROVE_LONG $*" >> calls
case "$*" in
*TestF01*e2e) echo "--- PASS: TestF01"; echo "    --- PASS: TestF01/queued"; echo "campaign: 7 kills at places and 2 besides, 9 containers, seed 5"; [ -e mended ] || [ $(wc -l < calls) -lt 2 ] ;;
*FuzzThis*) echo "fuzz: elapsed: 10s, execs: 11 (1/sec)"; echo "fuzz: elapsed: 20s, execs: 22 (1/sec)" ;;
esac
`)
	var out bytes.Buffer
	code, err := run(t.Context(), []string{"long", "--", fake, "test"}, &out)
	if code != 1 || err == nil || !strings.Contains(err.Error(), "round 2") {
		t.Fatalf("long = %d, %v, want a failure in round 2", code, err)
	}
	write(t, "mended", "")
	write(t, "p/b.go", "package p\n")
	for _, args := range [][]string{{"-only", "fuzz"}, {}, {}} {
		if code, err := run(t.Context(), append(append([]string{"long"}, args...), "--", fake, "test"), &out); code != 0 || err != nil {
			t.Fatalf("long %s = %d, %v", args, code, err)
		}
	}
	calls, err := os.ReadFile("calls")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(calls), "1 test -count=1 -v -run ^TestF01 "); n != 21 {
		t.Errorf("the matrix ran %d times, want 20 and the one that failed:\n%s", n, calls)
	}
	if n := strings.Count(string(calls), "FuzzThis"); n != 1 {
		t.Errorf("the fuzz target ran %d times, want once:\n%s", n, calls)
	}
	page, err := os.ReadFile(pageFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| crash matrix, all cells | 20 of 20 | ", " | " + first + ", " + first + "+ | 2 tests and cells passed, 0 skipped; 7 kills at places and 2 besides, 9 containers, seed 5 |\n",
		"| fuzz p FuzzThis | 1 of 1 | ", " | " + first + "+ | 22 executions |\n",
	} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page has no %q:\n%s", want, page)
		}
	}
	if code, err := run(t.Context(), []string{"long", "-only", "nothing", "--", fake, "test"}, &out); code != 2 || err == nil {
		t.Errorf("long -only nothing = %d, %v, want a refusal", code, err)
	}
}

// Commands side by side leave the page of all that they have done, and a file
// that a crash left empty is one of no rounds.
func TestDoneSideBySide(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, doneFile, "")
	if ended, err := loadDone(); err != nil || len(ended) != 0 {
		t.Fatalf("of an empty file: %v, %v, want no rounds", ended, err)
	}
	const rounds = 8
	list := []campaign{{name: "crash", rounds: rounds}}
	var all sync.WaitGroup
	for round := 1; round <= rounds; round++ {
		all.Go(func() {
			if err := (done{Name: "crash", Round: round, Revision: "abc"}).save(list); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	page, err := os.ReadFile(pageFile)
	if err != nil || !strings.Contains(string(page), "| crash | 8 of 8 |") {
		t.Errorf("the page has not all rounds: %v\n%s", err, page)
	}
}
