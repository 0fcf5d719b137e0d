package quorum

import (
	"testing"
	"time"

	"github.com/ipdc/ipdc/identity"
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

// What a schedule counts is told apart from whether it is paused, and nobody can
// say what cannot be.
func TestCountsOfASchedule(t *testing.T) {
	m := newMachine()
	claim := wire.Claim{Job: newJobs(1)[0], Epoch: 1}
	m.enter(wire.Recorded{Schedule: true, Job: claim.Job, Owner: "a", Epoch: 1})
	c := &jobspec.Counts{Dataset: "d", Base: 7}
	for _, a := range []wire.Amendment{{Claim: claim, Paused: true}, {Claim: claim, Counts: c}} {
		if f := m.amend(a, "a"); f != nil {
			t.Fatal(f)
		}
	}
	got := m.renewed("a", renewal{}).Granted
	if len(got) != 1 || !got[0].Paused || got[0].Counts == nil || *got[0].Counts != *c {
		t.Errorf("an heir hears %+v", got)
	}
	for _, tt := range []struct {
		c  *jobspec.Counts
		ok bool
	}{{nil, true}, {c, true}, {&jobspec.Counts{Base: -1}, false}, {&jobspec.Counts{Dataset: "a\nb"}, false}} {
		if err := countable(tt.c); (err == nil) != tt.ok {
			t.Errorf("countable(%+v) = %v, want ok %t", tt.c, err, tt.ok)
		}
	}
}

// A schedule is for years: who has handed it on, or was away, may have it again
// once a later owner has shown that it runs it, by a job or by a word. What none
// of its owners shows that is passed to each member once.
func TestScheduleComesBack(t *testing.T) {
	id := jobspec.NewScheduleID(time.UnixMilli(1))
	fires := func(m *machine, owner identity.ID, epoch int) *jobspec.Failure {
		fired := jobspec.Fired{Schedule: id, Kind: jobspec.InstantTime, Slot: int64(60 * epoch), Epoch: epoch}
		return m.enter(wire.Recorded{Job: fired.JobID(), Tenant: "t", Owner: owner, Epoch: 1, Fired: &fired})
	}
	says := func(m *machine, owner identity.ID, epoch int) *jobspec.Failure {
		return m.amend(wire.Amendment{Claim: wire.Claim{Job: id.Recorded(), Epoch: epoch}}, owner)
	}
	for name, tt := range map[string]struct {
		shows  func(*machine, identity.ID, int) *jobspec.Failure
		passes int
	}{
		"it has a job":      {fires, 10},
		"its owner says so": {says, 10},
		"nobody takes it":   {nil, 2}, // the control
	} {
		t.Run(name, func(t *testing.T) {
			q, m := hearing("a", "b", "c"), newMachine()
			if f := m.enter(wire.Recorded{Schedule: true, Job: id.Recorded(), Owner: "a", Epoch: 1}); f != nil {
				t.Fatal(f)
			}
			passes := 0
			for range 10 {
				e, _ := m.find(id.Recorded())
				to := q.heir(e)
				if to == "" {
					break
				}
				if f := m.grant(grant{wire.Claim{Job: e.Job, Epoch: e.Epoch}, to}); f != nil {
					t.Fatal(f)
				}
				passes++
				if tt.shows == nil {
					continue
				}
				if f := tt.shows(m, to, e.Epoch+1); f != nil {
					t.Fatal(f)
				}
			}
			if passes != tt.passes {
				t.Errorf("it was passed on %d times, want %d", passes, tt.passes)
			}
		})
	}
}

// A schedule that its owner leaves without a word goes to a member that has had
// it, when all have; a job does not.
func TestSilentOwnersSchedule(t *testing.T) {
	q, m := hearing("a", "b"), newMachine()
	e := wire.Recorded{Schedule: true, Job: newJobs(1)[0], Owner: "c", Epoch: 3, Past: []identity.ID{"a", "b"}}
	m.jobs[e.Job] = e
	to := q.successor(e)
	if to != "a" && to != "b" {
		t.Fatalf("the schedule goes to %q, want a or b", to)
	}
	if f := m.grant(grant{wire.Claim{Job: e.Job, Epoch: 3}, to}); f != nil {
		t.Fatal(f)
	}
	now, _ := m.find(e.Job)
	if next := q.heir(now); next == "" || next == to { // it may be passed on by whoever cannot run it
		t.Errorf("behind %s it could go to %q", to, next)
	}
	e.Schedule = false
	if to := q.successor(e); to != "" {
		t.Errorf("the job goes to %q again", to)
	}
}

// hearing leads, and has just heard of some members.
func hearing(ids ...identity.ID) *Quorum {
	q := &Quorum{cfg: Config{Lease: time.Hour, Revoked: func(identity.ID) bool { return false }}}
	q.reign.seen = map[identity.ID]sign{}
	for _, id := range ids {
		q.reign.seen[id] = sign{at: time.Now()}
	}
	return q
}
