package sidecar_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// The owner of a gang is gone for good: another node takes the job over, what
// ran of the gang ends, and all of it begins anew there.
func TestGangOfAnOwnerThatIsGone(t *testing.T) {
	t.Parallel()
	f := newRecorded(t, 4, shortLease)
	tr := f.stage(3, func(name string, try int) []string {
		if try > 1 {
			return []string{writing(name)}
		}
		return []string{writing(name), "DUMMY_SLEEP=1h"}
	})
	for _, b := range f.nodes {
		f.await("all know the keepers", func() bool { return b.status().Keepers.Active() && b.status().Keepers.Leader != "" })
	}
	owner := f.nodes[0]
	id := owner.submit(gangOf(threes))
	f.untilBegun(tr, "ps-0", "worker-0", "worker-1")
	f.lose(owner, true)
	owner.stop()
	heir := f.heir(id)
	j := heir.final(id)
	if j.State != jobspec.JobSucceeded || j.Gang == nil || j.Gang.Starts != 1 || j.Tenure == nil || j.Tenure.Epoch != 2 {
		t.Fatalf("job is %s with %+v, %+v: %+v", j.State, j.Gang, j.Tenure, j.Failure)
	}
	if got := heir.outputs(j.Result); len(got) != 3 || got["worker-1/me"] != "worker-1" {
		t.Errorf("result = %v, want a folder of each task", got)
	}
	for _, b := range f.nodes[1:] {
		f.wait("nothing of the old generation is left", b.isFree)
		b.idle()
	}
}

// What a member says of a task of an earlier generation has no effect: neither
// that it is ready, nor a checkpoint, nor that it has ended well.
func TestGangHearsNothingLate(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	f.lease(lossLease)
	f.stage(2, func(name string, _ int) []string { return []string{writing(name), "DUMMY_SLEEP=1h"} })
	owner, idler := f.nodes[0], f.nodes[2]
	f.change(1, func(b *bench) { b.cap.CPU = 4000 })
	given := make(chan wire.Assign, 8)
	post := f.puppet(idler, func(_ context.Context, post *bus.Post) {
		f.answersHolds(post, idler)
		bus.Answer(post, "reserve", func(context.Context, bus.Letter, wire.Reserve) (wire.Reserved, error) {
			return wire.Reserved{Held: true}, nil
		})
		bus.Answer(post, "assign", func(_ context.Context, _ bus.Letter, a wire.Assign) (wire.Assigned, error) {
			given <- a
			return wire.Assigned{}, nil
		})
	})
	s := gangOf(jobspec.Gang{Roles: map[string]int{"w": 3}, Restart: jobspec.GangRestartAll})
	s.Stages[0].Resources.CPU = 1500 // one at each node
	id := owner.submit(s)
	var old wire.Assign
	select {
	case old = <-given:
	case <-time.After(2 * time.Minute):
		t.Fatal("no task was assigned")
	}
	tell := func(b wire.Beat) (wire.Beating, error) {
		b.Attempt, b.Token = old.Attempt, old.Token
		return bus.Request[wire.Beating](t.Context(), post, owner.key.ID(), "beat", b)
	}
	if _, err := tell(wire.Beat{Ready: true}); err != nil { // control: in time it is heard
		t.Fatal(err)
	}
	begun := func(generation int) func() bool {
		return func() bool {
			j, err := owner.Job(t.Context(), "t", id)
			return err == nil && j.Gang != nil && j.Gang.Begun >= generation
		}
	}
	f.wait("all are there", begun(1))
	f.unheard(2) // and silent from here on
	f.wait("the next generation runs", begun(2))
	cp := jobspec.Checkpoint{Name: "late", CID: idler.file("late"), Bytes: 6, Taken: time.Now()}
	if ans, err := tell(wire.Beat{Ready: true, Checkpoint: &cp}); !errors.Is(err, jobspec.KindLeaseLost.Error()) {
		t.Errorf("a late sign of life gets %+v, %v", ans, err)
	}
	report := wire.Report{Attempt: old.Attempt, Token: old.Token, Outcome: f.outcome(idler, old, func(*jobspec.Receipt) {})}
	if ans, err := bus.Request[wire.Reported](t.Context(), post, owner.key.ID(), "report", report); !errors.Is(err, jobspec.KindLeaseLost.Error()) {
		t.Errorf("a late report gets %+v, %v", ans, err)
	}
	f.releases(owner, id, f.nodes[:2]...)
	j := owner.final(id)
	if j.State != jobspec.JobSucceeded || j.Checkpoint != nil || j.Gang.Starts != 2 {
		t.Fatalf("job is %s with %+v, checkpoint %+v: %+v", j.State, j.Gang, j.Checkpoint, j.Failure)
	}
	if got := owner.outputs(j.Result); len(got) != 3 {
		t.Errorf("result = %v, want that of the last generation", got)
	}
}
