package sidecar_test

import (
	"context"
	"sync"
	"testing"

	"github.com/ipdc/ipdc/internal/refusal"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/wire"
)

// halfway is a record by which a node comes halfway through the entering of a
// job, and which takes signs of life from it when the test wants so.
type halfway struct {
	sidecar.Record
	enter func(context.Context, wire.Recorded) error // nil: as it is
	mute  chan struct{}                              // signs of life are given after it; nil = at once
}

func (h *halfway) Enter(ctx context.Context, e wire.Recorded) error {
	if h.enter != nil {
		return h.enter(ctx, e)
	}
	return h.Record.Enter(ctx, e)
}

func (h *halfway) Renew(ctx context.Context, claims []wire.Claim) (wire.Renewed, error) {
	if h.mute != nil {
		<-h.mute
	}
	return h.Record.Renew(ctx, claims)
}

// A node that was killed between the row of a job and the note that the keepers
// have it does not publish it when it is back: it asks first, as the job may be
// another's.
func TestUnenteredJobIsNotPublished(t *testing.T) {
	refusal.Produces(t, jobspec.KindLeaseLost)
	f := newFleet(t, 4)
	owner, first, second := f.nodes[0], &halfway{}, &halfway{mute: make(chan struct{})} // so that it ends before it is told
	owner.asks = func(r sidecar.Record) sidecar.Record {
		first.Record = r
		return first
	}
	f.keepRecord(shortLease)
	ids, dead := make(chan string, 1), make(chan struct{})
	first.enter = func(ctx context.Context, e wire.Recorded) error {
		if err := first.Record.Enter(ctx, e); err != nil {
			return err
		}
		ids <- e.Job.String()
		<-dead // it hears nothing any more
		return jobspec.KindNoQuorum.Errorf("killed")
	}
	var submit sync.WaitGroup
	submit.Go(func() { _, _, _ = owner.Submit(t.Context(), api.Submission{Tenant: "t", Spec: spec("DUMMY_STDOUT=x")}) })
	t.Cleanup(func() { close(dead); submit.Wait() })
	id := <-ids
	f.lose(owner, true)
	owner.stop()
	heir := f.heir(id)
	if j := heir.final(id); j.State != jobspec.JobSucceeded {
		t.Fatalf("job is %s: %+v", j.State, j.Failure)
	}
	f.lose(owner, false)
	owner.asks = func(r sidecar.Record) sidecar.Record {
		second.Record = r
		return second
	}
	defer close(second.mute)
	owner.start()
	if j := owner.final(id); j.State != jobspec.JobFailed || !refusal.Is(t, j.Failure.Error(), jobspec.KindLeaseLost) || j.Result.Defined() {
		t.Errorf("at the old owner the job is %s with %q: %+v, want no second result", j.State, j.Result, j.Failure)
	}
}
