package sidecar_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/wire"
)

// troupe is what the tasks of a test's gangs do, on all nodes, and what it saw
// of them.
type troupe struct {
	act func(name string, try int) []string // more environment of a program

	mu     sync.Mutex
	made   map[string]int // containers by task
	begun  map[string]int // programs by task
	early  []string       // programs that began before all tasks of their generation were made
	expect int            // tasks of a generation
}

// actor is one node's executor.
type actor struct {
	executor.Executor
	*troupe
	of map[executor.ID]string // names of its tasks; guarded by troupe.mu
}

func taskName(env []string) string {
	for _, e := range env {
		if name, ok := strings.CutPrefix(e, "IPDC_TASK="); ok {
			return name
		}
	}
	return ""
}

func (a actor) Create(ctx context.Context, task executor.Task) (executor.ID, error) {
	name := taskName(task.Env)
	if name == "" {
		return a.Executor.Create(ctx, task)
	}
	a.mu.Lock()
	a.made[name]++
	try := a.made[name]
	a.mu.Unlock()
	task.Env = append(task.Env, a.act(name, try)...)
	id, err := a.Executor.Create(ctx, task)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.of[id] = name
	return id, err
}

func (a actor) Start(ctx context.Context, id executor.ID) error {
	a.mu.Lock()
	if name := a.of[id]; name != "" {
		a.begun[name]++
		there := 0
		for _, n := range a.made {
			if n >= a.begun[name] {
				there++
			}
		}
		if there < a.expect {
			a.early = append(a.early, fmt.Sprintf("%s beside %d tasks", name, there))
		}
	}
	a.mu.Unlock()
	return a.Executor.Start(ctx, id)
}

// stage puts a troupe onto all nodes of a fleet.
func (f *fleet) stage(expect int, act func(name string, try int) []string) *troupe {
	f.t.Helper()
	tr := &troupe{act: act, expect: expect, made: map[string]int{}, begun: map[string]int{}}
	for _, b := range f.nodes {
		b.wrap = func(e executor.Executor) executor.Executor { return actor{e, tr, map[executor.ID]string{}} }
		b.restart()
	}
	f.t.Cleanup(func() {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		if len(tr.early) > 0 {
			f.t.Errorf("programs began alone: %q", tr.early)
		}
	})
	return tr
}

func (tr *troupe) starts(name string) int {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.begun[name]
}

// gangOf is a job of one stage, a gang.
func gangOf(g jobspec.Gang) jobspec.Spec {
	s := spec()
	return jobspec.Spec{Version: jobspec.Version, Stages: []jobspec.Stage{{Name: "train", Gang: &g, Run: s.Run}}}
}

// writing is what a task does that leaves its name.
func writing(name string) string { return "DUMMY_WRITE=/outputs/me:" + name }

// untilBegun waits until programs of so many tasks run.
func (f *fleet) untilBegun(tr *troupe, names ...string) {
	f.t.Helper()
	f.wait("tasks begin", func() bool {
		return !slices.ContainsFunc(names, func(n string) bool { return tr.starts(n) == 0 })
	})
}

func (f *fleet) wait(what string, done func() bool) {
	f.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); <-tick.C {
		if done() {
			return
		}
	}
	f.t.Fatalf("never: %s", what)
}

// nodesOf returns on how many nodes the attempts of a generation are.
func nodesOf(j wire.Job, generation int) map[string]int {
	nodes := map[string]int{}
	for _, a := range j.Attempts {
		if a.ID.Try == generation {
			nodes[a.Node]++
		}
	}
	return nodes
}

var threes = jobspec.Gang{Roles: map[string]int{"ps": 1, "worker": 2}}

func TestGangRunsTogether(t *testing.T) {
	f := newFleet(t, 3)
	f.stage(3, func(name string, _ int) []string { return []string{writing(name), "DUMMY_STDOUT=I am " + name} })
	owner := f.nodes[0]
	j := owner.final(owner.submit(gangOf(threes)))
	if j.State != jobspec.JobSucceeded {
		t.Fatalf("job is %s: %+v", j.State, j.Failure)
	}
	want := map[string]string{"ps-0/me": "ps-0", "worker-0/me": "worker-0", "worker-1/me": "worker-1"}
	if got := owner.outputs(j.Result); !maps.Equal(got, want) {
		t.Errorf("result = %v, want %v", got, want)
	}
	if nodes := nodesOf(j, 1); len(j.Attempts) != 3 || len(nodes) != 3 {
		t.Errorf("%d attempts on %v, want one on each node", len(j.Attempts), nodes)
	}
	for i, a := range j.Attempts {
		p := a.Peers
		if a.Receipt == nil || p == nil || p.Self != a.ID.Task || len(p.Tasks) != 3 || p.Tasks[p.Self].Node != a.Node || p.Gang != j.Attempts[0].Peers.Gang || j.Tasks[i].Name != p.Tasks[i].Name {
			t.Errorf("attempt %s has receipt %v, peers %+v, task %+v", a.ID, a.Receipt, p, j.Tasks[i])
		}
	}
}

// The role that decides has done its work: the other one is stopped, and is part
// of the success.
func TestGangEndsWithARole(t *testing.T) {
	f := newFleet(t, 3)
	f.stage(3, func(name string, _ int) []string {
		if name == "ps-0" {
			return []string{writing(name), "DUMMY_SLEEP=1h"}
		}
		return []string{writing(name)}
	})
	g, owner := threes, f.nodes[0]
	g.Ends = "worker"
	s := gangOf(g)
	s.Timeouts.Run = jobspec.NoLimit
	j := owner.final(owner.submit(s))
	if j.State != jobspec.JobSucceeded {
		t.Fatalf("job is %s: %+v", j.State, j.Failure)
	}
	if got := owner.outputs(j.Result); len(got) != 3 || got["ps-0/me"] != "ps-0" {
		t.Errorf("result = %v, want a folder of each task", got)
	}
	for _, a := range j.Attempts {
		if a.Receipt == nil || a.Failure != nil {
			t.Errorf("attempt %s: receipt %v, failure %+v", a.ID, a.Receipt, a.Failure)
		}
	}
	for _, b := range f.nodes {
		b.idle()
	}
}

func TestGangFailsAsOne(t *testing.T) {
	f := newFleet(t, 3)
	f.stage(3, func(name string, _ int) []string {
		if name == "worker-1" {
			return []string{"DUMMY_STDOUT=first\nthe loss is NaN\n", "DUMMY_EXIT=3"}
		}
		return []string{"DUMMY_SLEEP=1h"}
	})
	owner := f.nodes[0]
	j := owner.final(owner.submit(gangOf(threes)))
	if j.State != jobspec.JobFailed || j.Failure.Kind != jobspec.KindExit || j.Failure.ExitCode != 3 {
		t.Fatalf("job is %s: %+v, want failed with exit code 3", j.State, j.Failure)
	}
	for _, word := range []string{"worker-1 at ", "exit code 3", "the loss is NaN"} {
		if !strings.Contains(j.Failure.Detail, word) {
			t.Errorf("failure %q does not say %q", j.Failure.Detail, word)
		}
	}
	for task, want := range map[string]string{"worker-1": "first\nthe loss is NaN\n", "2": "first\nthe loss is NaN\n", "ps-0": ""} {
		var said strings.Builder
		err := owner.LogEvents(t.Context(), "t", j.ID.String(), task, api.LogPlace{}, false, func(p api.LogPiece) error {
			said.Write(p.Data)
			return nil
		})
		if err != nil || said.String() != want {
			t.Errorf("log of %s = %q, %v, want %q", task, said.String(), err, want)
		}
	}
	if err := owner.LogEvents(t.Context(), "t", j.ID.String(), "ps-1", api.LogPlace{}, false, nil); !errors.Is(err, jobspec.KindNotFound.Error()) {
		t.Errorf("log of a task that is not there = %v", err)
	}
	if j.Failure.Where != "stage train, task worker-1" || len(j.Attempts) != 3 {
		t.Errorf("failure is at %q, of %d attempts", j.Failure.Where, len(j.Attempts))
	}
	for _, b := range f.nodes {
		b.idle()
	}
}

// An assignment that is sent again while the first is worked on takes no second
// seat, neither of its own nor of the task beside it.
func TestGangIsAssignedOnce(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	f.stage(4, func(name string, _ int) []string { return []string{writing(name)} })
	slow := make(chan struct{})
	f.mu.Lock()
	f.slow = slow
	f.mu.Unlock()
	owner := f.nodes[0]
	id := owner.submit(gangOf(jobspec.Gang{Roles: map[string]int{"w": 4}}))
	f.wait("tasks are granted", func() bool {
		j, err := owner.Job(t.Context(), "t", id)
		return err == nil && len(j.Attempts) == 4
	})
	time.AfterFunc(time.Second, func() { close(slow) }) // meanwhile messages are sent again, first after 100 ms
	j := owner.final(id)
	if j.State != jobspec.JobSucceeded || len(j.Attempts) != 4 {
		t.Errorf("job is %s after %d attempts, want 4: %+v", j.State, len(j.Attempts), j.Failure)
	}
}

// Two gangs of which each needs all of the domain both come to their end.
func TestGangsDoNotBlockEachOther(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	f.stage(2, func(name string, _ int) []string { return []string{writing(name)} })
	ids := make([]string, 2)
	for i, role := range []string{"a", "b"} {
		s := gangOf(jobspec.Gang{Roles: map[string]int{role: 2}})
		s.Stages[0].Resources.CPU = 2000
		ids[i] = f.nodes[i].submit(s)
	}
	for i, id := range ids {
		if j := f.nodes[i].final(id); j.State != jobspec.JobSucceeded {
			t.Errorf("gang %d is %s: %+v", i, j.State, j.Failure)
		}
	}
}

// As long as one task has no room nothing of a gang is made; then all of it
// starts.
func TestGangWaitsForAll(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	tr := f.stage(2, func(name string, _ int) []string { return []string{writing(name)} })
	busy, owner := f.nodes[1], f.nodes[0]
	long := spec("DUMMY_SLEEP=1h")
	long.Resources.CPU, long.Place.Require = 2000, map[string]string{"label.here": "1"}
	f.change(1, func(b *bench) { b.labels = map[string]string{"here": "1"} })
	other := busy.submit(long)
	busy.until(other, jobspec.AttemptRunning)
	s := gangOf(jobspec.Gang{Roles: map[string]int{"w": 2}})
	s.Stages[0].Resources.CPU = 2000
	id := owner.submit(s)
	f.wait("the gang says that it waits", func() bool {
		j, err := owner.Job(t.Context(), "t", id)
		return err == nil && strings.Contains(j.Waiting, "start together") && strings.Contains(j.Waiting, "CPU: asks 2, free 0")
	})
	tr.mu.Lock()
	made := len(tr.made)
	tr.mu.Unlock()
	if made != 0 {
		t.Errorf("%d containers of a gang that waits", made)
	}
	if _, err := busy.Stop(t.Context(), "t", other); err != nil {
		t.Fatal(err)
	}
	if j := owner.final(id); j.State != jobspec.JobSucceeded {
		t.Errorf("job is %s: %+v", j.State, j.Failure)
	}
}

func TestGangThatNeverFits(t *testing.T) {
	f := newFleet(t, 2)
	s := gangOf(jobspec.Gang{Roles: map[string]int{"w": 5}})
	_, _, err := f.nodes[0].Submit(t.Context(), api.Submission{Tenant: "t", Spec: s})
	if fail := jobspec.AsFailure(err); err == nil || !strings.Contains(fail.Detail, "5 tasks start together, and the 2 members that can run them have room for 4") || fail.Hint == "" {
		t.Errorf("Submit = %v, want it refused with the numbers", err)
	}
	s.Stages[0].Gang.Roles["w"] = 4
	plan, err := f.nodes[0].Plan(t.Context(), api.Submission{Tenant: "t", Spec: s})
	if err != nil || len(plan.Tasks) != 4 || plan.Tasks[3].Name != "w-3" || plan.Nodes[0].Tasks != 2 {
		t.Errorf("Plan = %+v, %v, want two tasks on each node", plan, err)
	}
}

func TestGangIsStopped(t *testing.T) {
	f := newFleet(t, 3)
	tr := f.stage(3, func(string, int) []string { return []string{"DUMMY_SLEEP=1h"} })
	owner := f.nodes[0]
	id := owner.submit(gangOf(threes))
	f.untilBegun(tr, "ps-0", "worker-0", "worker-1")
	if _, err := owner.Stop(t.Context(), "t", id); err != nil {
		t.Fatal(err)
	}
	if j := owner.final(id); j.State != jobspec.JobStopped {
		t.Errorf("job is %s, want stopped", j.State)
	}
	for _, b := range f.nodes {
		b.idle()
	}
}
