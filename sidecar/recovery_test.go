package sidecar_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/store"
)

// counted is an executor that counts the calls that run at once.
type counted struct {
	executor.Executor
	now, most *atomic.Int64
	created   *atomic.Int64
}

func (c counted) enter() func() {
	n := c.now.Add(1)
	for {
		most := c.most.Load()
		if n <= most || c.most.CompareAndSwap(most, n) {
			return func() { c.now.Add(-1) }
		}
	}
}

func (c counted) Create(ctx context.Context, t executor.Task) (executor.ID, error) {
	defer c.enter()()
	c.created.Add(1)
	return c.Executor.Create(ctx, t)
}

func (c counted) Start(ctx context.Context, id executor.ID) error {
	defer c.enter()()
	return c.Executor.Start(ctx, id)
}

func (c counted) List(ctx context.Context, prefix string) ([]executor.Container, error) {
	defer c.enter()()
	return c.Executor.List(ctx, prefix)
}

// A node that finds thousands of jobs answers, takes new ones, and asks its engine for
// a few containers at a time.
func TestF66TenThousandJobsAtTheStart(t *testing.T) {
	jobs := 2_000 // they are made and read again under the race detector, too
	if os.Getenv("IPDC_PROVE_LONG") != "" {
		jobs = 10_000
	}
	b := newBench(t)
	b.stop()
	err := b.store.Update(t.Context(), func(tx *store.Tx) error {
		for i := range jobs {
			s := spec("DUMMY_STDOUT=" + fmt.Sprint(i)).WithDefaults()
			c, err := s.CID()
			if err != nil {
				return err
			}
			job := jobspec.Job{
				ID: jobspec.NewJobID(time.Now()), Tenant: "t", Spec: s, SpecCID: c,
				State: jobspec.JobAccepted, Submitted: time.Now().UTC().Truncate(time.Millisecond),
			}
			if err := tx.PutJob(job); err != nil {
				return err
			}
			if _, err := tx.AppendEvent(jobspec.Event{Job: job.ID, Type: jobspec.EventState, Detail: string(job.State)}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var now, most, created atomic.Int64
	b.wrap = func(ex executor.Executor) executor.Executor { return counted{ex, &now, &most, &created} }
	b.limits.Jobs = 20_000
	began := time.Now()
	b.start()
	if _, _, err := b.Submit(t.Context(), api.Submission{Tenant: "another", Spec: spec()}); err != nil {
		t.Errorf("Submit: %v", err)
	}
	if n, err := b.Node(t.Context()); err != nil || len(n.Problems) > 0 {
		t.Errorf("Node = %q, %v", n.Problems, err)
	}
	t.Logf("takes jobs after %s", time.Since(began))
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(2 * time.Minute); created.Load() < 20; <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("%d containers were made", created.Load())
		}
	}
	b.stop()
	if got := most.Load(); got > 16 {
		t.Errorf("%d calls of the engine at once, want a few", got)
	}
}

// A job that comes while a node that was just started looks what was left takes
// its room once: all of it is free when the job has ended.
func TestJobOfTheFirstMoment(t *testing.T) {
	b := newBench(t)
	begun, looks := make(chan struct{}), make(chan struct{})
	b.begins = func() {
		close(begun)
		<-looks
	}
	b.stop()
	b.start()
	<-begun
	id := b.submit(spec("DUMMY_SLEEP=1h"))
	for range 300 { // without care it has room by now
		if j, err := b.Job(t.Context(), "t", id); err != nil || len(j.Attempts) > 0 {
			t.Errorf("before the node knows what was left the job has attempts %+v, %v", j.Attempts, err)
			break
		}
		runtime.Gosched()
	}
	close(looks)
	b.until(id, jobspec.AttemptRunning)
	b.state.Release()
	if j := b.final(id); j.State != jobspec.JobSucceeded || len(j.Attempts) != 1 {
		t.Errorf("job = %s %+v after %d attempts, want success in one", j.State, j.Failure, len(j.Attempts))
	}
	for late := time.Now().Add(2 * time.Minute); !b.isFree(); runtime.Gosched() {
		if time.Now().After(late) {
			t.Fatalf("free is %+v of %+v when all has ended", b.status().Free, b.status().Capacity)
		}
	}
}
