package quorum

import (
	"testing"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// The job of an instant is taken from the owner of its schedule only, once, and
// tells the next owner where to go on.
func TestInstantOfItsOwnerOnly(t *testing.T) {
	m := newMachine()
	id := jobspec.NewScheduleID(time.UnixMilli(1))
	if f := m.enter(wire.Recorded{Schedule: true, Job: id.Recorded(), Owner: "a", Epoch: 1, Cursor: 50}); f != nil {
		t.Fatal(f)
	}
	fire := func(owner string, epoch int, slot int64) *jobspec.Failure {
		fired := jobspec.Fired{Schedule: id, Kind: jobspec.InstantTime, Slot: slot, Epoch: epoch}
		e := wire.Recorded{Job: fired.JobID(), Tenant: "t", Epoch: 1, Fired: &fired}
		e.Owner = "a"
		if owner == "b" {
			e.Owner = "b"
		}
		return m.enter(e)
	}
	if f := fire("a", 1, 60); f != nil {
		t.Errorf("its owner: %v", f)
	}
	if f := fire("a", 1, 60); f != nil {
		t.Errorf("the same again: %v", f)
	}
	if f := fire("b", 1, 120); f == nil || f.Kind != jobspec.KindLeaseLost {
		t.Errorf("another member: %v", f)
	}
	if f := m.grant(grant{wire.Claim{Job: id.Recorded(), Epoch: 1}, "b"}); f != nil {
		t.Fatal(f)
	}
	if f := fire("a", 1, 120); f == nil || f.Kind != jobspec.KindLeaseLost {
		t.Errorf("the owner before: %v", f)
	}
	if f := fire("b", 2, 60); f == nil || f.Kind != jobspec.KindLeaseLost {
		t.Errorf("an instant that has a job, by the new owner: %v", f)
	}
	if f := fire("b", 2, 180); f != nil { // the control
		t.Errorf("the new owner: %v", f)
	}
	if e, _ := m.find(id.Recorded()); e.Cursor != 180 {
		t.Errorf("the next owner begins behind %d, want 180", e.Cursor)
	}
	pause := wire.Amendment{Claim: wire.Claim{Job: id.Recorded(), Epoch: 1}, Paused: true}
	if f := m.amend(pause, "a"); f == nil {
		t.Error("the owner before pauses it")
	}
	if pause.Epoch = 2; m.amend(pause, "b") != nil {
		t.Error("the new owner cannot pause it")
	}
	if e, _ := m.find(id.Recorded()); !e.Paused {
		t.Error("it is not paused")
	}
	if f := m.end(wire.Ending{Claim: pause.Claim, State: jobspec.JobStopped}, "b"); f != nil {
		t.Fatal(f)
	}
	if f := fire("b", 2, 240); f == nil {
		t.Error("a schedule that was removed has another job")
	}
}
