package sidecar_test

import (
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// converged waits until no member works for a job that has ended, and checks
// that it has one result, of one attempt of each task.
func (f *fleet) converged(j wire.Job, root string) {
	f.t.Helper()
	if j.State != jobspec.JobSucceeded || j.Result.String() != root {
		f.t.Errorf("job is %s with %s, want succeeded with %s: %+v", j.State, j.Result, root, j.Failure)
	}
	reports := map[int]int{}
	for _, a := range j.Attempts {
		if a.Receipt != nil && a.Failure == nil {
			reports[a.ID.Task]++
		}
	}
	for task, n := range reports {
		if n != 1 {
			f.t.Errorf("task %d has %d reports, want 1", task, n)
		}
	}
	for _, b := range f.nodes {
		f.await("a member has ended all work", func() bool { return b.status().Jobs == 0 })
		b.idle()
		b.nothingLeft(j.ID.String())
	}
}

// Owner and worker are apart while a program runs, both ways or one: the task
// is done all the same, what the worker has when they are together again counts
// once or is too late, and nothing is left of it.
func TestF46F47F59OwnerAndWorkerApart(t *testing.T) {
	for name, way := range map[string]struct {
		cut   func(f *fleet)
		lost  bool // the owner hears nothing
		lease time.Duration
	}{
		"F46 F59 both ways":        {func(f *fleet) { f.net.Partition(f.ids(1)) }, true, time.Second},
		"F47 to the worker":        {func(f *fleet) { f.net.Cut(f.nodes[0].key.ID(), f.nodes[1].key.ID()) }, false, 5 * time.Second}, // it is to hold
		"F47 F59 from the worker":  {func(f *fleet) { f.net.Cut(f.nodes[1].key.ID(), f.nodes[0].key.ID()) }, true, time.Second},
		"F42 no broker for longer": {func(f *fleet) { f.net.Stop() }, true, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 3)
			owner, worker := f.nodes[0], f.nodes[1]
			worker.slow(endless)
			f.lease(way.lease)
			root, files := f.dataset(2)
			f.everywhere(root)
			id := owner.submit(perItem(root, files))
			f.await("the worker's programs run", func() bool {
				j, err := owner.Job(t.Context(), "t", id)
				if err == nil && j.State.Final() { // on a slow machine the others may have done it all
					s := perItem(root, files)
					s.Cache, s.Run.Env["AGAIN"] = jobspec.CacheOff, id
					id = owner.submit(s)
				}
				at := worker.key.ID().String()
				return err == nil && len(j.Tasks) > 0 && len(j.Attempts) >= len(j.Tasks) && !slices.Contains(makers(j.Attempts, early...), at) &&
					slices.Contains(makers(j.Attempts, jobspec.AttemptRunning), at)
			})
			way.cut(f)
			if way.lost {
				owner.look(id, func(j wire.Job) bool {
					return slices.Contains(makers(j.Attempts, jobspec.AttemptAbandoned), worker.key.ID().String())
				})
			}
			f.await("the worker's programs have ended", func() bool {
				worker.state.Release() // also what waited for room
				return worker.allDone()
			})
			f.net.Heal()
			f.net.Start()
			j := owner.final(id)
			f.converged(j, root)
			if !way.lost && outrun(j.Attempts) < len(makers(j.Attempts, jobspec.AttemptAbandoned)) {
				t.Errorf("attempts were lost though the owner heard of them: %+v", j.Attempts)
			}
		})
	}
}

// allDone says whether all items of all that a node was assigned are done, but for
// what its owner took back.
func (b *bench) allDone() bool {
	list := b.assignments()
	return len(list) > 0 && !slices.ContainsFunc(list, func(j wire.Job) bool { return !j.State.Final() && j.ItemsDone < j.ItemsTotal })
}

// long says that this is a campaign: the same tests with more of everything.
func long() bool { return os.Getenv("IPDC_PROVE_LONG") != "" }

// A link that goes up and down all the time: the job ends with its result, and
// neither goroutines nor open files are left for each time that it did.
func TestF48FlappingLink(t *testing.T) {
	rounds, half := 15, 100*time.Millisecond
	if long() {
		rounds, half = 60, time.Second
	}
	f := newFleet(t, 3)
	f.lease(time.Second)
	root, files := f.dataset(2)
	f.everywhere(root)
	owner := f.nodes[0]
	s := slow(root, files, time.Second)
	s.Cache = jobspec.CacheOff
	f.converged(owner.final(owner.submit(s)), root) // stores and logs are open from now on
	goroutines, open := runtime.NumGoroutine(), openFiles(t)
	id := owner.submit(s)
	tick := time.NewTicker(half)
	defer tick.Stop()
	for range rounds {
		f.net.Partition(f.ids(1))
		<-tick.C
		f.net.Heal()
		<-tick.C
	}
	f.converged(owner.final(id), root)
	f.await("goroutines end", func() bool { return runtime.NumGoroutine() <= goroutines+5 })
	f.await("files are closed", func() bool { return openFiles(t) <= open+10 })
}

func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// All who may run a task go away: the job says that it waits for one, and ends
// when one is back.
func TestF56AllWorkersDie(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	f.lease(time.Second)
	for i := range 2 {
		f.change(i+1, func(b *bench) { b.labels = map[string]string{"disk": "ssd"}; b.slow(endless) })
	}
	root, files := f.dataset(2)
	f.everywhere(root)
	s := perItem(root, files)
	s.Place.Require = map[string]string{"label.disk": "ssd"}
	owner := f.nodes[0]
	id := owner.submit(s)
	f.untilAway(1)
	for _, b := range f.nodes[1:] {
		f.lose(b, true)
		b.stop()
	}
	owner.look(id, func(j wire.Job) bool {
		if j.State.Final() {
			t.Fatalf("without workers the job is %s: %+v", j.State, j.Failure)
		}
		return strings.Contains(j.Waiting, "waits for a member that may run it")
	})
	back := f.nodes[2]
	back.wrap = nil // its programs end
	back.start()
	f.lose(back, false)
	owner.later.Store(int64(time.Minute)) // it is not asked at once again
	if j := owner.final(id); j.State != jobspec.JobSucceeded || j.Result.String() != root {
		t.Errorf("job is %s with %s, want succeeded with %s: %+v", j.State, j.Result, root, j.Failure)
	}
}
