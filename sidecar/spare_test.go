package sidecar_test

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar"
)

// copyPart gives a node what another one holds.
func (f *fleet) copyPart(root string, files map[string]jobspec.CID, from string, to *bench) {
	f.t.Helper()
	for path, c := range files {
		if path[:1] != from {
			continue
		}
		if err := to.ipfs.Pin(f.t.Context(), "user/"+path, c); err != nil {
			f.t.Fatal(err)
		}
	}
}

// nodes are who made the attempts of a job, by state of the attempt.
func makers(list []jobspec.Attempt, states ...jobspec.AttemptState) (nodes []string) {
	for _, a := range list {
		if slices.Contains(states, a.State) {
			nodes = append(nodes, a.Node)
		}
	}
	return nodes
}

// A task whose holder does not take it, or is lost with it, goes to another
// holder. (F52)
func TestF52TaskGoesToAnotherHolder(t *testing.T) {
	for name, lost := range map[string]bool{"holder refuses": false, "holder is lost": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 3)
			owner, first, second := f.nodes[0], f.nodes[1], f.nodes[2]
			if lost {
				first.slow(endless)
			}
			f.lease(lossLease)
			root, files := f.dataset(1)
			s := partOf(root, files, 1)
			if !lost {
				first.admit = func(context.Context) error { return jobspec.KindLimit.Errorf("no room") }
				first.restart()
				f.copyPart(root, files, "1", second)
			}
			id := owner.submit(s)
			if lost {
				f.untilAway(1)
				f.copyPart(root, files, "1", second)
				first.stop()
			}
			j := owner.final(id)
			if j.State != jobspec.JobSucceeded {
				t.Fatalf("job is %s: %+v, want succeeded", j.State, j.Failure)
			}
			done := makers(j.Attempts, jobspec.AttemptRecorded, jobspec.AttemptCleaned)
			if len(done) != 1 || done[0] != second.key.ID().String() {
				t.Errorf("the task was done by %v, want the other holder %s", done, second.key.ID())
			}
			if gone := makers(j.Attempts, jobspec.AttemptAbandoned); lost && !slices.Contains(gone, first.key.ID().String()) {
				t.Errorf("abandoned attempts are of %v, want one of the lost member", gone)
			}
		})
	}
}

// A member that refused is not asked again at once, by no task.
func TestRefusedIsNotAskedAgain(t *testing.T) {
	f := newFleet(t, 2)
	var asked, early atomic.Int64
	var first sync.Once
	var refused time.Time
	var answered atomic.Bool
	f.nodes[1].admit = func(context.Context) error {
		asked.Add(1)
		first.Do(func() { refused = time.Now() })
		if answered.Load() && time.Since(refused) < sidecar.ShyAtFirst {
			early.Add(1)
		}
		return jobspec.KindLimit.Errorf("no room")
	}
	f.nodes[1].restart()
	root, files := f.dataset(2)
	owner := f.nodes[0]
	if j := owner.final(owner.submit(partOf(root, files, 1))); j.State != jobspec.JobSucceeded || asked.Load() == 0 {
		t.Fatalf("job is %s after %d questions: %+v", j.State, asked.Load(), j.Failure)
	}
	answered.Store(true)
	s := partOf(root, files, 1)
	s.Run.Env["OTHER"] = "job"
	if j := owner.final(owner.submit(s)); j.State != jobspec.JobSucceeded || early.Load() != 0 {
		t.Errorf("job is %s, and the member was asked %d times within %s, want succeeded and never", j.State, early.Load(), sidecar.ShyAtFirst)
	}
}

func TestShy(t *testing.T) {
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	id, now := key.ID(), time.Unix(1e9, 0)
	var s sidecar.Shy
	for i, want := range []time.Duration{10 * time.Second, 20 * time.Second, 40 * time.Second, 80 * time.Second, 160 * time.Second, 5 * time.Minute, 5 * time.Minute} {
		s.Add(id, now)
		s.Add(id, now.Add(time.Second)) // of the same time
		if !s.Is(id, now.Add(want-1)) || s.Is(id, now.Add(want)) {
			t.Errorf("refusal %d: not asked for other than %s", i+1, want)
		}
		now = now.Add(want)
	}
	s.Took(id)
	s.Add(id, now)
	if s.Is(id, now.Add(10*time.Second)) {
		t.Error("a member that took a task is avoided for longer than at first")
	}
}
