package sidecar_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar"
	"github.com/ipdc/ipdc/wire"
)

// forgetful is a record that does not know what a node claims, as one that goes on
// from a keeper that lacked it, until it is entered.
type forgetful struct {
	sidecar.Record
	on      atomic.Bool
	entered atomic.Pointer[wire.Recorded]
}

func (r *forgetful) Renew(ctx context.Context, claims []wire.Claim) (out wire.Renewed, err error) {
	if !r.on.Load() {
		return r.Record.Renew(ctx, claims)
	}
	for _, c := range claims {
		out.Lost = append(out.Lost, wire.Recorded{Job: c.Job})
	}
	return out, nil
}

func (r *forgetful) Enter(ctx context.Context, e wire.Recorded) error {
	err := r.Record.Enter(ctx, e)
	if r.on.Load() && err == nil {
		r.entered.Store(&e)
		r.on.Store(false)
	}
	return err
}

// A schedule that was acknowledged stays, though the record does not know it any
// more: its owner enters it again.
func TestUnknownScheduleStays(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	owner, r := f.nodes[0], &forgetful{}
	owner.asks = func(inner sidecar.Record) sidecar.Record {
		r.Record = inner
		return r
	}
	f.keepRecord(shortLease)
	s, _, err := owner.AddSchedule(t.Context(), "t", wire.ScheduleRequest{Name: "daily", Cron: "@daily", Spec: spec()})
	if err != nil {
		t.Fatal(err)
	}
	r.on.Store(true)
	there := func() bool {
		got, err := owner.Schedule(t.Context(), "t", "daily")
		return err == nil && got.Away == "" && got.Tenure != nil && *got.Tenure == *s.Tenure
	}
	f.await("it is gone, or entered again", func() bool { return r.entered.Load() != nil || !there() })
	if e := r.entered.Load(); !there() || e == nil || !e.Schedule || e.Job != jobspec.JobID(s.ID) || e.Epoch != s.Tenure.Epoch {
		t.Errorf("the schedule is there: %v, and was entered as %+v", there(), e)
	}
}
