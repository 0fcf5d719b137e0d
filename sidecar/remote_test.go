package sidecar_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/ipdc/ipdc/bus/memory"
	"github.com/ipdc/ipdc/executor/dummy"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
)

// slow is perItem whose containers run until the test lets them, or for long.
func slow(root string, files map[string]jobspec.CID, d time.Duration) jobspec.Spec {
	s := perItem(root, files)
	s.Run.Env["DUMMY_SLEEP"] = d.String()
	return s
}

// early are the states of an attempt whose program has not begun.
var early = []jobspec.AttemptState{jobspec.AttemptLeased, jobspec.AttemptStaged, jobspec.AttemptImage, jobspec.AttemptCreated}

// untilAway waits until so many tasks run at other nodes, or have run.
func (f *fleet) untilAway(want int) {
	f.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond) // each look costs the nodes the processor
	defer tick.Stop()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); <-tick.C {
		running := 0
		for _, b := range f.nodes[1:] {
			list, err := b.Jobs(f.t.Context(), "*", api.JobFilter{All: true})
			if err != nil {
				f.t.Fatal(err)
			}
			for _, j := range list {
				full, err := b.Job(f.t.Context(), j.Tenant, j.ID.String())
				if err == nil && len(full.Attempts) > 0 && !slices.Contains(early, full.Attempts[0].State) {
					running++
				}
			}
		}
		if running >= want {
			return
		}
	}
	f.t.Fatalf("never did %d tasks run at other nodes", want)
}

// atWork counts the programs of others' jobs that run at a node.
func (b *bench) atWork() (n int) {
	b.t.Helper()
	for _, j := range b.assignments() {
		full, err := b.Job(b.t.Context(), j.Tenant, j.ID.String())
		if err == nil && len(full.Attempts) > 0 && full.Attempts[0].State == jobspec.AttemptRunning {
			n++
		}
	}
	return n
}

func (f *fleet) ids(i int) []identity.ID { return []identity.ID{f.nodes[i].key.ID()} }

// Whatever happens to the nodes on the way, the result is the one that a node
// alone would give.
func TestFleetSurvives(t *testing.T) {
	for name, happens := range map[string]func(f *fleet){
		"nothing":           func(*fleet) {},
		"owner restarts":    func(f *fleet) { f.nodes[0].restart() },
		"worker restarts":   func(f *fleet) { f.nodes[1].restart() },
		"worker is gone":    func(f *fleet) { f.nodes[1].stop() },
		"worker is cut off": func(f *fleet) { f.net.Partition(f.ids(2)) },
		"F41 broker restarts": func(f *fleet) {
			f.net.Stop()
			f.net.Start()
		},
		"cut off for a moment": func(f *fleet) {
			f.net.Partition(f.ids(1))
			f.net.Heal()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 3)
			f.lease(2 * time.Second)
			root, files := f.dataset(2)
			owner := f.nodes[0]
			id := owner.submit(slow(root, files, time.Second))
			f.untilAway(2)
			happens(f)
			j := owner.final(id)
			if j.State != jobspec.JobSucceeded || j.Result.String() != root {
				t.Fatalf("job is %s with %s, want succeeded with %s: %+v", j.State, j.Result, root, j.Failure)
			}
			if j.ItemsDone != len(files) {
				t.Errorf("%d of %d items done", j.ItemsDone, len(files))
			}
		})
	}
}

// A job that is stopped leaves nothing running anywhere.
func TestStopReachesWorkers(t *testing.T) {
	f := newFleet(t, 3)
	root, files := f.dataset(2)
	owner := f.nodes[0]
	id := owner.submit(slow(root, files, time.Hour))
	f.untilAway(2)
	if _, err := owner.Stop(t.Context(), "t", id); err != nil {
		t.Fatal(err)
	}
	if j := owner.final(id); j.State != jobspec.JobStopped {
		t.Errorf("job is %s, want stopped", j.State)
	}
	for _, b := range f.nodes[1:] {
		b.idle()
	}
}

// idle waits until no container of a node runs.
func (b *bench) idle() {
	b.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); <-tick.C {
		if list, err := dummy.New(b.state).List(b.t.Context(), ""); err == nil && len(list) == 0 {
			return
		}
	}
	b.t.Error("containers go on after the stop")
}

// Messages that are lost, doubled and late change nothing, and cost no attempt.
func TestF43F49FleetOverABadBus(t *testing.T) {
	for name, loss := range map[string]float64{"F49 a tenth is lost": 0.1, "F49 a third is lost": 0.3, "F49 a half is lost": 0.5} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 3)
			f.net = memory.New(memory.Config{Faults: memory.Noise(1, loss, 0.3, 50*time.Millisecond)})
			f.lease(20 * time.Second)
			root, files := f.dataset(2)
			j := f.nodes[0].final(f.nodes[0].submit(perItem(root, files)))
			if j.State != jobspec.JobSucceeded || j.Result.String() != root {
				t.Errorf("job is %s with %s, want succeeded with %s: %+v", j.State, j.Result, root, j.Failure)
			}
			if lost := len(makers(j.Attempts, jobspec.AttemptAbandoned)) - outrun(j.Attempts); lost > 1 {
				t.Errorf("%d attempts were given up for lost messages: %+v", lost, j.Attempts)
			}
		})
	}
}

// A program that fails on another node fails the job as one that fails here,
// with its log.
func TestFailureElsewhere(t *testing.T) {
	f := newFleet(t, 3)
	root, files := f.dataset(1)
	s := perItem(root, files)
	s.Run.Env["DUMMY_EXIT"] = "19"
	s.Inputs[0].CID += "/1" // all of it is the second node's
	owner := f.nodes[0]
	id := owner.submit(s)
	j := owner.final(id)
	if j.State != jobspec.JobFailed || j.Failure.Kind != jobspec.KindExit || j.Failure.ExitCode != 19 {
		t.Fatalf("job is %s: %+v, want failed with exit code 19", j.State, j.Failure)
	}
	if a := j.Attempts[0]; a.Node != f.nodes[1].key.ID().String() || a.Receipt == nil || a.Receipt.Kind != jobspec.KindExit {
		t.Errorf("attempt = %+v, want one of the second node with a receipt", a)
	}
	if len(j.Attempts) != 1 {
		t.Errorf("%d attempts, want 1: exit is not retried", len(j.Attempts))
	}
}

// A node that does not take a task is no obstacle.
func TestWorkerRefuses(t *testing.T) {
	f := newFleet(t, 2)
	f.nodes[1].admit = func(context.Context) error { return jobspec.KindLimit.Errorf("no room") }
	f.nodes[1].restart()
	root, files := f.dataset(2)
	j := f.nodes[0].final(f.nodes[0].submit(perItem(root, files)))
	if j.State != jobspec.JobSucceeded || j.Result.String() != root {
		t.Fatalf("job is %s with %s, want succeeded with %s: %+v", j.State, j.Result, root, j.Failure)
	}
	for _, a := range j.Attempts {
		if a.Node != f.nodes[0].key.ID().String() {
			t.Errorf("attempt %s is of %s, want of the owner", a.ID, a.Node)
		}
	}
}
