package sidecar_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
)

// noted keeps what containers are made of.
type noted struct {
	mu   sync.Mutex
	list []executor.Task
}

type noting struct {
	executor.Executor
	to *noted
}

func (n noting) Create(ctx context.Context, t executor.Task) (executor.ID, error) {
	n.to.mu.Lock()
	n.to.list = append(n.to.list, t)
	n.to.mu.Unlock()
	return n.Executor.Create(ctx, t)
}

// only returns the one container that was made since the last call.
func (n *noted) only(t *testing.T) executor.Task {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	list := n.list
	n.list = nil
	if len(list) != 1 {
		t.Fatalf("%d containers were made, want 1", len(list))
	}
	return list[0]
}

// notes has the bench keep what its containers are made of.
func (b *bench) notes() *noted {
	n := &noted{}
	b.wrap = func(ex executor.Executor) executor.Executor { return noting{ex, n} }
	b.restart()
	return n
}

// A job that asks for a unit more than the node gives to jobs is refused, by
// submit and by plan; one that asks for all of it gets that to the unit. After a
// restart with less the job fails, and is not run with what is there.
func TestS08ResourcesAboveTheNode(t *testing.T) {
	b := newBench(t)
	made := b.notes()
	whole := jobspec.Resources(b.cap)
	exactly := func(what string, want jobspec.Resources) {
		t.Helper()
		if task := made.only(t); task.CPU != want.CPU || task.Memory != want.Memory || task.GPU != want.GPU {
			t.Errorf("%s: the container has %s, %s and %d, want %+v", what, task.CPU, task.Memory, task.GPU, want)
		}
	}
	for name, more := range map[string]func(*jobspec.Resources){
		"cpu":    func(r *jobspec.Resources) { r.CPU++ },
		"memory": func(r *jobspec.Resources) { r.Memory++ },
		"disk":   func(r *jobspec.Resources) { r.Disk++ },
		"gpu":    func(r *jobspec.Resources) { r.GPU++ },
	} {
		t.Run(name, func(t *testing.T) {
			s := spec("DUMMY_STDOUT=" + name)
			s.Resources = whole
			if j := b.final(b.submit(s)); j.State != jobspec.JobSucceeded || j.Spec.Resources != whole {
				t.Fatalf("control: job is %s with %+v: %+v", j.State, j.Spec.Resources, j.Failure)
			}
			exactly("control", whole)
			more(&s.Resources)
			_, _, err := b.Submit(t.Context(), api.Submission{Tenant: "t", Spec: s})
			_, perr := b.Plan(t.Context(), api.Submission{Tenant: "t", Spec: s})
			for what, err := range map[string]error{"submit": err, "plan": perr} {
				if f := jobspec.AsFailure(err); f.Kind != jobspec.KindPolicy || !strings.Contains(fmt.Sprint(f), name+": asks ") {
					t.Errorf("%s = %+v, want E_POLICY: %s", what, f, name)
				}
			}
		})
	}
	t.Run("less after a restart", func(t *testing.T) {
		s := spec("DUMMY_STDOUT=later")
		s.Resources.CPU = whole.CPU
		hold := b.submit(spec("DUMMY_SLEEP=1h"))
		b.until(hold, jobspec.AttemptRunning)
		made.only(t)
		ref := b.submit(s)
		b.cap.CPU = whole.CPU / 2
		b.restart()
		if _, err := b.Stop(t.Context(), "t", hold); err != nil {
			t.Fatal(err)
		}
		if j := b.final(ref); j.State != jobspec.JobFailed || j.Failure.Kind != jobspec.KindPolicy || j.Spec.Resources.CPU != whole.CPU {
			t.Errorf("job is %s: %+v with %s, want E_POLICY and what it asked for", j.State, j.Failure, j.Spec.Resources.CPU)
		}
	})
}

// Names of an input reach the program, and stand in no path of the host that a
// container is shown.
func TestC49NamesAreInNoMount(t *testing.T) {
	b := newBench(t)
	made := b.notes()
	names := []string{"a:/etc:rw", "b,readonly=false,source=/etc"}
	s := spec("DUMMY_COPY=/inputs:/outputs")
	s.Inputs = []jobspec.Input{{CID: b.input(names...)}}
	j := b.final(b.submit(s))
	if j.State != jobspec.JobSucceeded {
		t.Fatalf("job is %s: %+v", j.State, j.Failure)
	}
	out := b.outputs(j.Result)
	for _, n := range names {
		if out[n] != n {
			t.Errorf("the program did not see %q: %v", n, out)
		}
	}
	for _, m := range made.only(t).Mounts {
		if strings.ContainsAny(m.Source+m.Target, ":,") {
			t.Errorf("mount %+v has characters that strings of mounts are made of", m)
		}
	}
}
