package sidecar_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/internal/refusal"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/wire"
)

// gated is an executor that does not tell of the end of programs with gateEnv
// before it is opened.
type gated struct {
	executor.Executor
	open <-chan struct{}
	mu   *sync.Mutex
	held map[executor.ID]bool
}

const gateEnv = "GATED"

func (g gated) Create(ctx context.Context, task executor.Task) (executor.ID, error) {
	id, err := g.Executor.Create(ctx, task)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held[id] = slices.Contains(task.Env, gateEnv+"=1")
	return id, err
}

func (g gated) Wait(ctx context.Context, id executor.ID) (executor.Exit, error) {
	g.mu.Lock()
	held := g.held[id]
	g.mu.Unlock()
	if held {
		select {
		case <-g.open:
		case <-ctx.Done():
			return executor.Exit{}, context.Cause(ctx)
		}
	}
	return g.Executor.Wait(ctx, id)
}

// gate lets no program of a stage end at any node, from the next start on, until
// the function it returns is called.
func (f *fleet) gate(s *jobspec.Spec, stage string) (open func()) {
	env := &s.Stages[s.StageIndex(stage)].Run.Env
	*env = maps.Clone(*env)
	(*env)[gateEnv] = "1"
	opened := make(chan struct{})
	for _, b := range f.nodes {
		g := gated{open: opened, mu: new(sync.Mutex), held: map[executor.ID]bool{}}
		b.wrap = func(e executor.Executor) executor.Executor {
			g.Executor = e
			return g
		}
	}
	open = sync.OnceFunc(func() { close(opened) })
	f.t.Cleanup(open)
	return open
}

// untilStage waits until programs of a stage run at so many other nodes.
func (f *fleet) untilStage(id, name string, others int) {
	f.t.Helper()
	f.await(fmt.Sprintf("programs of stage %s at %d other nodes", name, others), func() bool {
		j, err := f.nodes[0].Job(f.t.Context(), "t", id)
		if err != nil || j.State.Final() {
			f.t.Fatalf("job is %s: %+v, %v", j.State, j.Failure, err)
		}
		at := map[string]bool{}
		for _, a := range j.Attempts {
			if stageOfTask(j, a.ID.Task) == name && a.Node != f.nodes[0].key.ID().String() && !a.Started.IsZero() {
				at[a.Node] = true
			}
		}
		return len(at) >= others
	})
}

func stageOfTask(j wire.Job, task int) string {
	for _, t := range j.Tasks {
		if t.Index == task {
			return t.Stage
		}
	}
	return ""
}

// lossLease is for members that get lost: others are not silent as long, and when
// they are all the same their tasks have tries enough.
const lossLease = 5 * time.Second

// What a node alone gives is what three give, also when one is lost in either
// stage, or the owner is started anew; then only what was lost is run again.
func TestF52F54StagesOfAFleet(t *testing.T) {
	parts := append(someParts, "part-00003/g", "part-00004/h", "part-00005/i")
	alone := newBench(t)
	want := alone.final(alone.submit(mapReduce(alone.parted(parts...), 6)))
	if want.State != jobspec.JobSucceeded {
		t.Fatalf("alone the job is %s: %+v", want.State, want.Failure)
	}
	for name, happens := range map[string]struct {
		in    string // stage
		do    func(*fleet)
		lease time.Duration
	}{
		"nothing":                  {"reduce", func(*fleet) {}, time.Minute},
		"worker is gone in map":    {"map", func(f *fleet) { f.nodes[1].stop() }, lossLease},
		"worker is gone in reduce": {"reduce", func(f *fleet) { f.nodes[2].stop() }, lossLease},
		"owner restarts in map":    {"map", func(f *fleet) { f.nodes[0].restart() }, time.Minute},
		"owner restarts in reduce": {"reduce", func(f *fleet) { f.nodes[0].restart() }, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 3)
			owner := f.nodes[0]
			s := mapReduce(owner.parted(parts...), 6)
			s.Place.Prefer, s.Place.MinWorkers, s.Retry.Attempts = jobspec.PreferAny, 3, jobspec.MaxAttempts
			open := f.gate(&s, happens.in)
			f.lease(happens.lease)
			id := owner.submit(s)
			f.untilStage(id, happens.in, 2)
			happens.do(f)
			open()
			j := owner.final(id)
			if j.State != jobspec.JobSucceeded || j.Result != want.Result {
				t.Fatalf("job is %s with %s, want succeeded with %s: %+v", j.State, j.Result, want.Result, j.Failure)
			}
			if len(j.Tasks) != 14 || len(j.Stages) != 2 || j.Stages[0].Done != 8 || j.Stages[1].Done != 6 {
				t.Errorf("%d tasks, stages %+v, want 8 and 6 that are done", len(j.Tasks), j.Stages)
			}
			lineage(t, j)
			if name == "nothing" {
				if diff := cmp.Diff([]int{0, 1, 2}, f.workers(reduces(j))); diff != "" {
					t.Errorf("at work in reduce (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// The owner is gone for good between the stages or behind: its heir does the
// job anew, but for what it remembers.
func TestStagesAreTakenOver(t *testing.T) {
	t.Parallel()
	alone := newBench(t)
	want := alone.final(alone.submit(mapReduce(alone.parted(someParts...), 3)))
	f := newFleet(t, 4)
	owner := f.nodes[0]
	root := owner.parted(someParts...)
	s := mapReduce(root, 3)
	s.Place.Prefer, s.Retry.Attempts = jobspec.PreferAny, jobspec.MaxAttempts
	open := f.gate(&s, "reduce")
	f.keepRecord(lossLease)
	f.everywhere(root)
	id := owner.submit(s)
	f.untilStage(id, "reduce", 1)
	f.lose(owner, true)
	owner.stop()
	open()
	j := f.heir(id).final(id)
	if j.State != jobspec.JobSucceeded || j.Result != want.Result || len(j.Tasks) != 8 {
		t.Errorf("job is %s with %s and %d tasks, want succeeded with %s and 8: %+v", j.State, j.Result, len(j.Tasks), want.Result, j.Failure)
	}
}

// reduces leaves the attempts of the second stage.
func reduces(j wire.Job) wire.Job {
	some := j
	some.Attempts = nil
	for _, a := range j.Attempts {
		if stageOfTask(j, a.ID.Task) == "reduce" {
			some.Attempts = append(some.Attempts, a)
		}
	}
	return some
}

// lineage checks that each task says what it read, and who gave what.
func lineage(t *testing.T, j wire.Job) {
	t.Helper()
	for i, task := range j.Tasks {
		if task.Index != i || !task.Key.Defined() || !task.Shard.Defined() || !task.Output.Defined() || (task.Node == "") == (task.From == "") {
			t.Errorf("task %d is told of as %+v", i, task)
		}
	}
}

// A job is refused at once when too few members could run it, with the reasons.
func TestMinWorkers(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	f.change(2, func(b *bench) { b.cap.Memory = 64 * jobspec.MiB })
	s := mapReduce(f.nodes[0].parted(someParts...), 3)
	s.Place.MinWorkers = 3
	_, _, err := f.nodes[0].Submit(t.Context(), api.Submission{Tenant: "t", Spec: s})
	if got := jobspec.AsFailure(err); !refusal.Is(t, err, jobspec.KindPolicy) || !strings.Contains(got.Detail, "3 members") || !strings.Contains(got.Detail, "1 member: memory: asks 512MiB, has 64MiB") {
		t.Errorf("Submit for three workers = %v, want E_POLICY with the reason against one", err)
	}
	if _, err := f.nodes[0].Plan(t.Context(), api.Submission{Tenant: "t", Spec: s}); !refusal.Is(t, err, jobspec.KindPolicy) {
		t.Errorf("Plan for three workers = %v, want E_POLICY", err)
	}
	s.Place.MinWorkers = 2
	if j := f.nodes[0].final(f.nodes[0].submit(s)); j.State != jobspec.JobSucceeded {
		t.Errorf("for two workers the job is %s: %+v", j.State, j.Failure)
	}
}
