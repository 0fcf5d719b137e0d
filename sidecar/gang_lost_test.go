package sidecar_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

func TestGangStartsAgain(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	f.stage(3, func(name string, try int) []string {
		switch {
		case name == "worker-1" && try <= 2:
			return []string{"DUMMY_EXIT=1"}
		case name == "worker-0" && try == 1:
			return []string{"DUMMY_WRITE=/outputs/me:old", "DUMMY_WRITE2=/outputs/old:old"}
		}
		return []string{writing(name)}
	})
	g, owner := threes, f.nodes[0]
	g.Restart, g.Restarts = jobspec.GangRestartAll, 2
	j := owner.final(owner.submit(gangOf(g)))
	if j.State != jobspec.JobSucceeded || j.Gang == nil || j.Gang.Starts != 3 {
		t.Fatalf("job is %s with %+v: %+v", j.State, j.Gang, j.Failure)
	}
	if got := owner.outputs(j.Result); len(got) != 3 || got["worker-0/me"] != "worker-0" {
		t.Errorf("result = %v, want that of the last generation", got)
	}
	j = owner.final(owner.submit(func() jobspec.Spec {
		s := gangOf(jobspec.Gang{Roles: map[string]int{"bad": 1}, Restart: jobspec.GangRestartAll, Restarts: 1})
		s.Stages[0].Run.Env = map[string]string{"DUMMY_EXIT": "7"}
		return s
	}()))
	if j.State != jobspec.JobFailed || !strings.Contains(j.Failure.Detail, "was started 2 times, restarts: 1") {
		t.Errorf("job is %s: %+v, want it given up", j.State, j.Failure)
	}
}

// A member that takes its task, says for ever that it lives, and never that the
// container is made, holds the gang up for a while only.
func TestGangLeavesTheLate(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	f.stage(2, func(name string, _ int) []string { return []string{writing(name)} })
	owner, idler := f.nodes[0], f.nodes[1]
	owner.arrive = 5 * time.Second
	owner.restart()
	var work sync.WaitGroup
	t.Cleanup(work.Wait)
	f.puppet(idler, func(ctx context.Context, post *bus.Post) {
		f.answersHolds(post, idler)
		bus.Answer(post, "reserve", func(context.Context, bus.Letter, wire.Reserve) (wire.Reserved, error) {
			return wire.Reserved{Held: true}, nil
		})
		bus.Answer(post, "assign", func(_ context.Context, l bus.Letter, a wire.Assign) (wire.Assigned, error) {
			work.Go(func() {
				tick := time.NewTicker(50 * time.Millisecond)
				defer tick.Stop()
				for err := error(nil); err == nil; {
					_, err = bus.Request[wire.Beating](ctx, post, l.From, "beat", wire.Beat{Attempt: a.Attempt, Token: a.Token})
					select {
					case <-tick.C:
					case <-ctx.Done():
					}
				}
			})
			return wire.Assigned{}, nil
		})
	})
	j := owner.final(owner.submit(gangOf(jobspec.Gang{Roles: map[string]int{"w": 2}})))
	if j.State != jobspec.JobSucceeded || j.Gang.Starts != 1 {
		t.Fatalf("job is %s with %+v: %+v", j.State, j.Gang, j.Failure)
	}
	for _, a := range j.Attempts {
		late := a.ID.Try == 1 && a.Node == idler.key.ID().String()
		if late && (a.Failure == nil || !strings.Contains(a.Failure.Detail, "within 5s (setting gang-arrive), its image and input included; 1 of the gang's 2 tasks did")) {
			t.Errorf("the late attempt ended with %+v", a.Failure)
		}
		if !late && a.Node != owner.key.ID().String() {
			t.Errorf("attempt %s is at %s, which was late", a.ID, a.Node)
		}
	}
}

// What happens to a member that runs a task, or to the owner, while a gang runs.
func TestGangSurvives(t *testing.T) {
	for name, test := range map[string]struct {
		happens func(f *fleet, worker int)
		starts  int // generations that are started
	}{
		"owner restarts":    {func(f *fleet, _ int) { f.nodes[0].restart() }, 1},
		"worker restarts":   {func(f *fleet, i int) { f.nodes[i].restart() }, 1},
		"worker is gone":    {func(f *fleet, i int) { f.nodes[i].stop(); f.unheard(i) }, 2},
		"worker is cut off": {func(f *fleet, i int) { f.net.Partition(f.ids(i)); f.unheard(i) }, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 3)
			lease := 20 * time.Second // nobody is to be lost
			if test.starts > 1 {
				lease = lossLease
			}
			f.lease(lease)
			f.change(0, func(b *bench) { b.cap.CPU = 1000 }) // one task: another member has the next
			tr := f.stage(3, func(name string, try int) []string {
				if try > 1 {
					return []string{writing(name)}
				}
				return []string{writing(name), "DUMMY_SLEEP=1h"}
			})
			g, owner := threes, f.nodes[0]
			g.Restart = jobspec.GangRestartAll
			id := owner.submit(gangOf(g))
			f.untilBegun(tr, "ps-0", "worker-0", "worker-1")
			j, err := owner.Job(t.Context(), "t", id)
			if err != nil {
				t.Fatal(err)
			}
			workers := f.workers(j)
			test.happens(f, workers[len(workers)-1])
			if test.starts == 1 { // else the programs never end by themselves
				f.releases(owner, id, f.nodes...)
			}
			j = owner.final(id)
			if j.State != jobspec.JobSucceeded || j.Gang.Starts != test.starts {
				t.Fatalf("job is %s with %+v, want %d starts: %+v", j.State, j.Gang, test.starts, j.Failure)
			}
			if got := owner.outputs(j.Result); len(got) != 3 {
				t.Errorf("result = %v", got)
			}
		})
	}
}

// releases lets the programs of some nodes end, as soon as they have begun, until
// a job has ended.
func (f *fleet) releases(owner *bench, id string, at ...*bench) {
	f.t.Helper()
	f.wait("the job ends", func() bool {
		for _, b := range at {
			b.state.Release()
		}
		j, err := owner.Job(f.t.Context(), "t", id)
		return err == nil && j.State.Final()
	})
}

// unheard takes a node out of what the others hear of.
func (f *fleet) unheard(i int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.away[f.nodes[i]] = true
}
