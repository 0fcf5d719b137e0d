package sidecar_test

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar"
	"github.com/ipdc/ipdc/wire"
)

// slowed is an executor whose programs run for as long as it is told.
type slowed struct {
	executor.Executor
	made  atomic.Int64
	sleep func(n int64) time.Duration // of the n-th container, from 1 on
}

func (s *slowed) Create(ctx context.Context, task executor.Task) (executor.ID, error) {
	if d := s.sleep(s.made.Add(1)); d > 0 {
		task.Env = append(task.Env, "DUMMY_SLEEP="+d.String())
	}
	return s.Executor.Create(ctx, task)
}

// slow makes the programs of a node slow, from its next start on.
func (b *bench) slow(sleep func(n int64) time.Duration) *slowed {
	s := &slowed{sleep: sleep}
	b.wrap = func(e executor.Executor) executor.Executor {
		s.Executor = e
		return s
	}
	return s
}

// endless is for programs that end when the test releases them.
func endless(int64) time.Duration { return time.Hour }

// outrun counts the attempts that another one outran.
func outrun(list []jobspec.Attempt) (n int) {
	for _, a := range list {
		if a.State == jobspec.AttemptAbandoned && a.Failure != nil && a.Failure.Kind == jobspec.KindLeaseLost {
			n++
		}
	}
	return n
}

// straggling is a fleet of three whose second node never ends a task.
func straggling(t *testing.T) (f *fleet, s jobspec.Spec, root string) {
	f = newFleet(t, 3)
	for _, b := range f.nodes {
		b.backupAfter = 200 * time.Millisecond
	}
	f.nodes[1].slow(endless)
	f.lease(lossLease) // nobody is to be lost
	root, files := f.dataset(2)
	return f, perItem(root, files), root
}

// A task that runs far longer than the others is tried on a second node; the
// first report wins, and the other attempt ends.
func TestF55BackupAttempt(t *testing.T) {
	t.Parallel()
	f, s, root := straggling(t)
	owner := f.nodes[0]
	j := owner.final(owner.submit(s))
	if j.State != jobspec.JobSucceeded || j.Result.String() != root {
		t.Fatalf("job is %s with %s, want succeeded with %s: %+v", j.State, j.Result, root, j.Failure)
	}
	slow := slices.DeleteFunc(slices.Clone(j.Attempts), func(a jobspec.Attempt) bool { return a.Node != f.nodes[1].key.ID().String() })
	if len(slow) == 0 || outrun(slow) != len(slow) {
		t.Errorf("%d of %d attempts of the slow node are late: %+v", outrun(slow), len(slow), j.Attempts)
	}
	f.nodes[1].idle()
	for _, b := range f.nodes {
		b.nothingLeft(j.ID.String())
	}
}

// Jobs that must not be done twice get no backup.
func TestNoBackupAttempt(t *testing.T) {
	for name, change := range map[string]func(*jobspec.Spec){
		"network":  func(s *jobspec.Spec) { s.Network = []string{"example.org:443"} },
		"one try":  func(s *jobspec.Spec) { s.Retry.Attempts = 1 },
		"control!": func(*jobspec.Spec) {},
	} {
		t.Run(strings.TrimSuffix(name, "!"), func(t *testing.T) {
			t.Parallel()
			f, s, _ := straggling(t)
			change(&s)
			runs := 1500 * time.Millisecond // far longer than the others
			if name == "control!" {
				runs = time.Hour // until another one has done it
			}
			slow := f.nodes[1].slow(func(int64) time.Duration { return runs })
			f.nodes[1].restart()
			owner := f.nodes[0]
			j := owner.final(owner.submit(s))
			if j.State != jobspec.JobSucceeded || slow.made.Load() == 0 {
				t.Fatalf("job is %s after %d slow programs: %+v", j.State, slow.made.Load(), j.Failure)
			}
			if want := name == "control!"; outrun(j.Attempts) > 0 != want {
				t.Errorf("%d late attempts, want any: %v", outrun(j.Attempts), want)
			}
		})
	}
}

// Both attempts of a task are waited for again by an owner that was restarted,
// and no third one is made.
func TestBackupSurvivesRestart(t *testing.T) {
	t.Parallel()
	f, s, root := straggling(t)
	owner := f.nodes[0]
	once := func(n int64) time.Duration {
		if n <= 2 {
			return 0 // of its own files
		}
		return 2 * time.Second
	}
	f.nodes[0].slow(once)
	f.nodes[2].slow(once)
	f.nodes[0].restart()
	f.nodes[2].restart()
	id := owner.submit(s)
	tasks := owner.untilTwice(id)
	owner.restart()
	j := owner.final(id)
	if j.State != jobspec.JobSucceeded || j.Result.String() != root {
		t.Fatalf("job is %s with %s, want succeeded with %s: %+v", j.State, j.Result, root, j.Failure)
	}
	byTask := map[int]int{}
	for _, a := range j.Attempts {
		byTask[a.ID.Task]++
	}
	for task, n := range byTask {
		if n > 2 {
			t.Errorf("task %d has %d attempts, want at most 2", task, n)
		}
	}
	if n := outrun(j.Attempts); n < tasks {
		t.Errorf("%d attempts are late, want at least %d", n, tasks)
	}
	f.nodes[1].idle()
}

// untilTwice waits until some task has two attempts that run, and returns how
// many have.
func (b *bench) untilTwice(ref string) (tasks int) {
	b.t.Helper()
	b.look(ref, func(j wire.Job) bool {
		live := map[int]int{}
		for _, a := range j.Attempts {
			if a.State != jobspec.AttemptAbandoned && a.Receipt == nil {
				live[a.ID.Task]++
			}
		}
		tasks = 0
		for _, n := range live {
			if n > 1 {
				tasks++
			}
		}
		return tasks > 0
	})
	return tasks
}

// look waits until a job is as ok wants it.
func (b *bench) look(ref string, ok func(wire.Job) bool) {
	b.t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); <-tick.C {
		j, err := b.Job(b.t.Context(), "t", ref)
		if err != nil {
			b.t.Fatal(err)
		}
		if ok(j) {
			return
		}
	}
	b.t.Fatalf("job %s is never as it should be", ref)
}

func TestPace(t *testing.T) {
	for _, c := range []struct {
		took []time.Duration
		want time.Duration // 0 = none
	}{
		{nil, 0},
		{[]time.Duration{1, 1}, 0},
		{[]time.Duration{30, 10, 20}, 60},
		{[]time.Duration{30, 10, 20, 1000, 2000}, 90},
		{[]time.Duration{1, 1, 1}, 5},
		{[]time.Duration{-1, -1, -1}, 5}, // by a clock that was set back
	} {
		got, ok := sidecar.PaceLimit(5, c.took...)
		if ok != (c.want > 0) || got != c.want {
			t.Errorf("limit after %v = %d, %v, want %d", c.took, got, ok, c.want)
		}
	}
}
