package sidecar_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar"
	"github.com/ipdc/ipdc/wire"
)

// deaf loses the answer to the first Enter of each instant's job.
type deaf struct {
	sidecar.Record
	mu   sync.Mutex
	lost map[jobspec.JobID]bool
}

func (d *deaf) Enter(ctx context.Context, e wire.Recorded) error {
	err := d.Record.Enter(ctx, e)
	d.mu.Lock()
	defer d.mu.Unlock()
	if e.Fired != nil && !d.lost[e.Job] && err == nil {
		d.lost[e.Job] = true
		err = jobspec.KindNoQuorum.Errorf("the answer is lost")
	}
	return err
}

// A job whose entry the keepers have, and whose owner did not hear that, is run
// all the same.
func TestInstantOutlivesALostAnswer(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 4)
	owner := f.nodes[0]
	owner.limits.Interval = jobspec.Duration(time.Second)
	d := &deaf{lost: map[jobspec.JobID]bool{}}
	owner.asks = func(r sidecar.Record) sidecar.Record {
		d.Record = r
		return d
	}
	f.keepRecord(shortLease)
	if _, _, err := owner.AddSchedule(t.Context(), "t", wire.ScheduleRequest{Name: "tick", Cron: "@every 2s", Overlap: "allow", Spec: spec()}); err != nil {
		t.Fatal(err)
	}
	f.await("it runs", func() bool { return len(owner.ran("tick")) >= 2 })
	for _, i := range owner.instants("tick") {
		if i.State == jobspec.InstantStopped || i.State == jobspec.InstantMissed && i.Missed != jobspec.MissedLate { // a busy machine
			t.Errorf("instant %s is %s: %s %s", i.At, i.State, i.Missed, i.Detail)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for slot, i := range owner.instants("tick") {
		if i.State == jobspec.InstantSucceeded && !d.lost[i.Job] {
			t.Errorf("no answer was lost of instant %d: the test looks at nothing", slot)
		}
	}
}

// The ids of an instant's jobs are no secret. A member that enters a job of its
// own under one does not make the owner believe that the instant was run: it is
// listed with the reason. The control: those with other ids are run.
func TestInstantIsNotTakenByAnotherMember(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 4)
	owner := f.nodes[0]
	var keepers sidecar.Record // as the attacker asks them
	f.nodes[1].asks = func(r sidecar.Record) sidecar.Record {
		keepers = r
		return r
	}
	for _, b := range f.nodes {
		b.limits.Interval = jobspec.Duration(time.Second)
	}
	f.keepRecord(shortLease)
	s, _, err := owner.AddSchedule(t.Context(), "t", wire.ScheduleRequest{Name: "tick", Cron: "@every 2s", Overlap: "allow", Spec: spec()})
	if err != nil {
		t.Fatal(err)
	}
	slot := s.Created.Unix() + 10
	aim := jobspec.Instant{Schedule: s.ID, Kind: jobspec.InstantTime, Slot: slot}
	e := wire.Recorded{
		Job: aim.JobID(), Tenant: "t", SpecCID: s.SpecCID, Spec: s.SpecCID, Submitted: time.Now().UnixMilli(), Owner: f.nodes[1].key.ID(), Epoch: 1,
	}
	if err := keepers.Enter(t.Context(), e); err != nil {
		t.Fatalf("Enter of a plain job = %v", err)
	}
	e.Fired = &jobspec.Fired{Schedule: s.ID, Kind: jobspec.InstantTime, Slot: slot + 2, Epoch: 1}
	if e.Job = e.Fired.JobID(); keepers.Enter(t.Context(), e) == nil {
		t.Error("another member enters the job of an instant as such")
	}
	var got jobspec.Instant
	f.await("the instant is decided", func() bool {
		got = owner.instants("tick")[slot]
		return got.State != "" && got.State != jobspec.InstantDue
	})
	if got.State != jobspec.InstantMissed || got.Missed != jobspec.MissedRefused || !strings.Contains(got.Detail, e.Owner.String()) {
		t.Errorf("the instant is %s (%s): %s", got.State, got.Missed, got.Detail)
	}
	f.await("the others run", func() bool { return len(owner.ran("tick")) >= 3 })
}
