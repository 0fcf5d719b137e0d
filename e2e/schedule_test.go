package e2e

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// A schedule runs real jobs; the node is killed after an instant was recorded
// and before its job was made, and after that and before it was noted: each
// instant has one job, or is listed as missed.
func TestF68ScheduleSurvivesKills(t *testing.T) {
	parallel(t)
	n := newNode(t)
	n.stop()
	const often = "IPDC_CRON_INTERVAL=1s"
	n.start(often)
	n.fails(2, "cron", "add", "@every 2s", "--once", "-e", "date") // without a name
	n.fails(2, "cron", "add", "0 0 30 2 *", "--name", "never", "--once", "-e", "date")
	n.ok("cron", "add", "@every 2s", "--name", "tick", "--overlap", "allow", "--once", "--cache", "off", "-e", "date > /outputs/at")
	want := 2
	n.await("instants to be run", time.Minute, func() bool { return n.instants("tick")[jobspec.InstantSucceeded] >= want })
	for _, place := range []string{"instant-due.after-completion", "instant-started.after-effect"} {
		n.ok("cron", "pause", "tick")
		n.stop()
		n.start(often, "IPDC_FAILPOINT="+place+"=kill")
		n.ipdc("cron", "resume", "tick") // it or its answer may be lost with the node
		if err := n.cmd.Wait(); err == nil {
			t.Fatalf("the node ended in order, want SIGKILL at %s", place)
		}
		n.start(often)
		n.ok("cron", "resume", "tick")
		want = n.instants("tick")[jobspec.InstantSucceeded] + 2
		n.await("instants to be run after "+place, time.Minute, func() bool { return n.instants("tick")[jobspec.InstantSucceeded] >= want })
	}
	n.ok("cron", "pause", "tick")
	n.await("its jobs to end", time.Minute, func() bool {
		got := n.instants("tick")
		return got[jobspec.InstantDue]+got[jobspec.InstantStarted] == 0
	})
	n.wholeHistory("tick")
	now := n.ok("cron", "run-now", "tick")
	n.ok("job", "wait", now)
	n.ok("cron", "rm", "tick")
	n.fails(4, "cron", "show", "tick")
}

func (n *node) history(name string) (h wire.History) {
	n.t.Helper()
	if err := json.Unmarshal([]byte(n.ok("cron", "history", name, "-o", "json", "--limit", "1000")), &h); err != nil {
		n.t.Fatal(err)
	}
	return h
}

// instants counts those of a schedule by state.
func (n *node) instants(name string) map[jobspec.InstantState]int {
	n.t.Helper()
	by := map[jobspec.InstantState]int{}
	for _, i := range n.history(name).Instants {
		by[i.State]++
	}
	return by
}

// wholeHistory holds that every other second since the first instant is listed
// once, and that each job of the node is one instant's.
func (n *node) wholeHistory(name string) {
	n.t.Helper()
	list := n.history(name).Instants
	jobs := map[jobspec.JobID]bool{}
	for k, i := range list {
		if k > 0 && !i.At.Equal(list[k-1].At.Add(-2*time.Second)) {
			n.t.Errorf("after %s comes %s in the history", list[k-1].At, i.At)
		}
		switch {
		case i.State == jobspec.InstantMissed && i.Missed != "" && i.Job == "":
		case i.State == jobspec.InstantSucceeded && i.Result.Defined() && !jobs[i.Job]:
			jobs[i.Job] = true
		default:
			n.t.Errorf("instant %+v", i)
		}
	}
	all, err := n.client().Jobs(n.t.Context(), client.JobFilter{Limit: 500})
	if err != nil || len(all) != len(jobs) {
		n.t.Errorf("%d jobs for %d instants, %v", len(all), len(jobs), err)
	}
}
