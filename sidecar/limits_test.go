package sidecar_test

import (
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar"
	"github.com/ipdc/ipdc/sidecar/api"
)

func TestTaskLimits(t *testing.T) {
	b := newBench(t)
	big := spec()
	big.Resources = jobspec.Resources{CPU: 2000, Memory: 2 * jobspec.GiB, Disk: 2 * jobspec.GiB}
	big.Timeouts.Run = jobspec.Duration(time.Hour)
	b.submit(big) // control: without limits it is taken
	for name, c := range map[string]struct {
		limits             sidecar.Limits
		where, asked, most string
	}{
		"task-cpu":    {sidecar.Limits{Task: jobspec.Resources{CPU: 1000}}, "resources.cpu", "2", "1"},
		"task-memory": {sidecar.Limits{Task: jobspec.Resources{Memory: jobspec.GiB}}, "resources.memory", "2GiB", "1GiB"},
		"task-disk":   {sidecar.Limits{Task: jobspec.Resources{Disk: jobspec.GiB}}, "resources.disk", "2GiB", "1GiB"},
		"task-run":    {sidecar.Limits{Run: jobspec.Duration(time.Minute)}, "timeouts.run", "1h", "1m"},
	} {
		t.Run(name, func(t *testing.T) {
			b.limits = c.limits
			b.restart()
			_, _, err := b.Submit(t.Context(), api.Submission{Tenant: "t", Spec: big})
			f := jobspec.AsFailure(err)
			if f.Kind != jobspec.KindPolicy || f.Where != c.where || !strings.Contains(f.Hint, name) ||
				!strings.Contains(f.Detail, "asked "+c.asked+",") || !strings.Contains(f.Detail, c.most+" at most") {
				t.Errorf("Submit = %+v, want E_POLICY at %s with %s, %s and the setting %s", f, c.where, c.asked, c.most, name)
			}
		})
	}
}

// Each partition is a file of a map task, and that has a bound.
func TestPartitionsFitTheVolume(t *testing.T) {
	b := newBench(t)
	s := spec()
	run := s.Run
	s.Run, s.Stages = jobspec.Run{}, []jobspec.Stage{{Name: "map", Run: run, Partitions: 9744}, {Name: "reduce", Run: run, Needs: []string{"map"}}}
	b.submit(s)
	s.Stages[0].Partitions++
	_, _, err := b.Submit(t.Context(), api.Submission{Tenant: "t", Spec: s})
	f := jobspec.AsFailure(err)
	if f.Kind != jobspec.KindPolicy || !strings.Contains(f.Detail, "9745") || !strings.Contains(f.Hint, "9744") || !strings.Contains(f.Hint, "task-files") {
		t.Errorf("Submit = %+v, want E_POLICY with the numbers", f)
	}
}

func TestS34TenantJobs(t *testing.T) {
	b := newBench(t)
	b.limits = sidecar.Limits{Jobs: 1}
	b.restart()
	sleeper := spec("DUMMY_SLEEP=1h")
	sleeper.Name = "first"
	id := b.submit(sleeper)
	again := api.Submission{Tenant: "t", IdempotencyKey: "k", Spec: spec()}
	_, _, err := b.Submit(t.Context(), again)
	f := jobspec.AsFailure(err)
	if f.Kind != jobspec.KindLimit || !strings.Contains(f.Detail, "1 jobs of t") || !strings.Contains(f.Hint, "tenant-jobs") {
		t.Errorf("Submit of a second job = %+v, want E_LIMIT with the number and the setting", f)
	}
	if _, _, err := b.Submit(t.Context(), api.Submission{Tenant: "other", Spec: spec()}); err != nil {
		t.Errorf("another tenant is refused: %v", err)
	}
	if _, err := b.Stop(t.Context(), "t", id); err != nil {
		t.Fatal(err)
	}
	b.final(id)
	if _, created, err := b.Submit(t.Context(), again); err != nil || !created {
		t.Errorf("Submit when the first has ended = %v, %v", created, err)
	}
	if _, created, err := b.Submit(t.Context(), again); err != nil || created {
		t.Errorf("the same key again = %v, %v; it makes no job and is never refused", created, err)
	}
}
