package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/jobspec"
)

// F02: kill -9 of the node, ten times while a job runs: the same container,
// started once, and one result.
func TestF02KillNodeWhileJobRuns(t *testing.T) {
	parallel(t)
	n := newNode(t)
	id := n.ok("job", "submit", "-d", "--once", "-c", logsDir(t), "-e", ticks)
	first := n.running()
	for i := range 10 {
		n.kill()
		n.start()
		if now := n.containers(); len(now) != 1 || now[0] != first {
			t.Fatalf("after kill %d containers = %v, want %v", i+1, now, first)
		}
	}
	j := n.ticked(id)
	if j.Attempts[0].Container != strings.Fields(first)[0] {
		t.Errorf("attempts = %+v, want the one in container %s", j.Attempts, first)
	}
	ticked := n.ok("get", j.Result.String()+"/ticks", "-")
	if got := n.ok("job", "logs", id); got+"\nend" != ticked {
		t.Errorf("the log has %q, the program wrote %q", got, ticked)
	}
}

// checkHistory holds I2 and I8: one final state, one result, events without
// gaps.
func (n *node) checkHistory(id string, results int) {
	n.t.Helper()
	var seq int64
	finals, published := 0, 0
	err := n.client().Events(n.t.Context(), id, 0, false, func(e jobspec.Event) error {
		if seq++; e.Seq != seq {
			n.t.Errorf("event %d follows %d", e.Seq, seq-1)
		}
		if e.Type == jobspec.EventState && jobspec.JobState(e.Detail).Final() {
			finals++
		}
		if e.Type == jobspec.EventState && e.Detail == string(jobspec.JobPublished) {
			published++
		}
		return nil
	})
	if err != nil || finals != 1 || published != results {
		n.t.Errorf("history: %d final states, %d published, err %v; want 1 and %d", finals, published, err, results)
	}
}

// A submit that was acknowledged is there after kill -9. (I1)
func TestAcknowledgedSurvivesKill(t *testing.T) {
	parallel(t)
	n := newNode(t, "--cpu", "0.01") // nothing of it runs: only the record matters
	dir := logsDir(t)
	n.fails(5, "job", "submit", "-e", "cat", "-c", dir)
	var ids []string
	for range 5 {
		ids = append(ids, n.ok("job", "submit", "-d", "--cpu", "0.01", "--once", "-e", "sleep 600", "-c", dir))
		n.kill()
		n.start()
	}
	for _, id := range ids {
		if got := n.job(id).ID.String(); got != id {
			t.Errorf("job %s is %s", id, got)
		}
		n.ok("job", "stop", id)
	}
}

// L03, F28: a second node on the same state names the first.
func TestSecondNodeOnOneState(t *testing.T) {
	n := newNode(t)
	if r := n.fails(1, "node", "start"); !strings.Contains(r.stderr, fmt.Sprint(n.cmd.Process.Pid)) {
		t.Errorf("second node: %s; want the first one's process id", r.stderr)
	}
}

// F30: two nodes on one engine do not touch each other's containers.
func TestF30TwoNodesOnOneEngine(t *testing.T) {
	parallel(t)
	a, b := newNode(t), newNode(t)
	dir := logsDir(t)
	ja := a.ok("job", "submit", "-d", "--once", "-e", untilLetGo+"echo a > /outputs/x", "-c", dir)
	jb := b.ok("job", "submit", "-d", "--once", "-e", untilLetGo+"echo b > /outputs/x", "-c", dir)
	ca, cb := a.running(), b.running()
	b.kill()
	a.kill()
	a.start()
	if now := fmt.Sprint(a.containers(), b.containers()); now != fmt.Sprint([]string{ca}, []string{cb}) {
		t.Errorf("with a started again the containers are %s, were %s and %s", now, ca, cb)
	}
	b.start()
	a.release(ca)
	b.release(cb)
	if ra, rb := a.ok("job", "wait", ja), b.ok("job", "wait", jb); ra == rb {
		t.Errorf("both results are %s", ra)
	}
}

// The port and the identity stay over restarts.
func TestNodeKeepsIdentityAndPort(t *testing.T) {
	n := newNode(t)
	ctx := t.Context()
	before, err := n.client().Node(ctx)
	if err != nil {
		t.Fatal(err)
	}
	n.stop()
	n.start()
	after, err := n.client().Node(ctx)
	if err != nil || after.ID != before.ID || after.Address != before.Address {
		t.Errorf("after a restart %s at %s (%v), want %s at %s", after.ID, after.Address, err, before.ID, before.Address)
	}
	info, err := os.Stat(after.Socket)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket mode = %v, %v; want 0600", info.Mode(), err)
	}
}
