package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
	"github.com/ipdc/ipdc/workload/cl"
)

// The owner of a list's job is killed midway and started again: each line is in
// the result once, lines that failed are tried again within their slice, and a
// retry of the job does those alone that failed for good.
func TestListSurvivesItsOwner(t *testing.T) {
	parallel(t)
	n := newNode(t)
	var list strings.Builder
	for i := range 50 {
		fmt.Fprintf(&list, "line %d\n", i)
	}
	// Lines on 3 fail in their first try, those on 7 always. The last one waits, so
	// that the kill comes before the end.
	const each = `sleep 0.1; case $IPDC_LINE in
"line 49") until test -e /tmp/go; do sleep 0.1; done;;
*7) echo "no sevens" >&2; exit 7;;
*3) test -e "/tmp/$IPDC_LINE" || { touch "/tmp/$IPDC_LINE"; exit 3; };;
esac
cat`
	r := n.ipdcIn(list.String(), "cl", "run", "--each", each, "-k", "5", "--retries", "1", "-d", "-")
	if r.code != 0 {
		t.Fatalf("cl run: %+v", r)
	}
	id := strings.TrimSpace(r.stdout)
	n.await("the first slices to end", 2*time.Minute, func() bool {
		for _, a := range n.job(id).Attempts {
			if a.State.Final() {
				return true
			}
		}
		return false
	})
	n.kill()
	n.start()
	if j := n.job(id); j.State.Final() {
		t.Fatalf("the job was %s before the kill: nothing is tested", j.State)
	}
	n.await("the last line to be let go", patience, func() bool {
		for _, c := range n.containers() {
			_ = exec.Command("docker", "exec", strings.Fields(c)[0], "touch", "/tmp/go").Run() // it may have ended
		}
		return n.job(id).State.Final()
	})
	result := n.ok("job", "wait", id)

	out := filepath.Join(t.TempDir(), "out")
	n.ok("get", result, out)
	n.eachLineOnce(id, files(t, out))
	var st cl.Status
	n.decode(&st, "cl", "status", id, "-o", "json")
	if st.State != jobspec.JobSucceeded || st.Lines != 50 || st.Done != 50 || st.Failed != 5 || len(st.Slices) != 5 {
		t.Errorf("status = %+v, want 50 lines in 5 slices, 5 of them failed", st)
	}

	// What is done is remembered, what failed is done again: here it fails again.
	var plan wire.Plan
	retry := n.ipdc("cl", "retry", id)
	if got := strings.TrimSpace(retry.stdout); retry.code != 0 || got != result {
		t.Errorf("cl retry = %+v, want the result %s", retry, result)
	}
	if j := n.job("@last"); j.Remembered != 45 || j.ID.String() == id {
		t.Errorf("the retry remembers %d lines, want 45", j.Remembered)
	}
	file := write(t, t.TempDir(), "list", list.String())
	n.decode(&plan, "cl", "plan", "--each", each, "-k", "5", "--retries", "1", file, "-o", "json")
	left := 0
	for _, task := range plan.Tasks {
		left += len(task.Items)
	}
	if len(plan.Kept) != 45 || left != 5 {
		t.Errorf("cl plan = %d lines remembered and %d to do, want 45 and 5", len(plan.Kept), left)
	}
}

// eachLineOnce checks the ends of the lines of a job against its outputs.
func (n *node) eachLineOnce(id string, outputs map[string]string) {
	n.t.Helper()
	times := map[string]int{}
	for _, text := range outputs {
		times[text]++
	}
	ends := 0
	for in := bufio.NewScanner(strings.NewReader(n.ok("cl", "items", id, "-o", "json"))); in.Scan(); ends++ {
		var end struct {
			Line string `json:"line"`
			wire.Item
		}
		if err := json.Unmarshal(in.Bytes(), &end); err != nil {
			n.t.Fatal(err)
		}
		state, exit, tries, copies := jobspec.ItemDone, 0, 1, 1
		switch end.Line[len(end.Line)-1] {
		case '3':
			tries = 2
		case '7':
			state, exit, tries, copies = jobspec.ItemFailed, 7, 2, 0
		}
		if end.State != state || end.ExitCode != exit || end.Tries != tries || times[end.Line+"\n"] != copies {
			n.t.Errorf("%q is %s with exit code %d after %d tries, %d times in the result; want %s, %d, %d and %d",
				end.Line, end.State, end.ExitCode, end.Tries, times[end.Line+"\n"], state, exit, tries, copies)
		}
		if state == jobspec.ItemFailed && !strings.Contains(end.Stderr, "no sevens") {
			n.t.Errorf("stderr of %q = %q", end.Line, end.Stderr)
		}
	}
	if ends != 50 || len(outputs) != 45 {
		n.t.Errorf("%d lines have an end and there are %d outputs, want 50 and 45", ends, len(outputs))
	}
}
