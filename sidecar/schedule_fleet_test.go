package sidecar_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar"
	"github.com/ipdc/ipdc/wire"
)

// scheduling is a fleet with a record of jobs whose schedules may run each second.
func scheduling(t *testing.T, n int) *fleet {
	f := newFleet(t, n)
	for _, b := range f.nodes {
		b.limits.Interval = jobspec.Duration(time.Second)
	}
	f.keepRecord(shortLease)
	return f
}

// instants are those of a schedule at a node, by slot.
func (b *bench) instants(name string) map[int64]jobspec.Instant {
	b.t.Helper()
	by := map[int64]jobspec.Instant{}
	list, err := b.History(b.t.Context(), "t", name, 1000, 0)
	if err != nil {
		return by
	}
	for _, i := range list {
		by[i.Slot] = i
	}
	return by
}

func (b *bench) ran(name string) (slots []int64) {
	for slot, i := range b.instants(name) {
		if i.State == jobspec.InstantSucceeded {
			slots = append(slots, slot)
		}
	}
	return slots
}

// A schedule goes on at another member when its owner is gone, and no instant
// is run by both; the old owner knows, when it is back, whose it is.
func TestScheduleOutlivesItsOwner(t *testing.T) {
	t.Parallel()
	f := scheduling(t, 4)
	owner := f.nodes[0]
	s, created, err := owner.AddSchedule(t.Context(), "t", wire.ScheduleRequest{Name: "tick", Cron: "@every 2s", Overlap: "allow", Spec: spec()})
	if err != nil || !created || s.Tenure == nil || s.Tenure.Epoch != 1 {
		t.Fatalf("AddSchedule = %+v, %t, %v", s.Tenure, created, err)
	}
	f.await("it runs at its owner", func() bool { return len(owner.ran("tick")) >= 2 })
	f.lose(owner, true)
	owner.stop()
	var heir *bench
	f.await("another member runs it", func() bool {
		for _, b := range f.nodes[1:] {
			if len(b.ran("tick")) >= 3 {
				heir = b
			}
		}
		return heir != nil
	})
	f.lose(owner, false)
	owner.start()
	f.await("the old owner knows", func() bool {
		s, err := owner.Schedule(t.Context(), "t", "tick")
		return err == nil && s.Away == heir.key.ID()
	})
	f.await("it still runs there", func() bool { return len(heir.ran("tick")) >= 5 })
	both := 0
	before := owner.instants("tick")
	for slot, there := range heir.instants("tick") {
		here, ok := before[slot]
		if !ok || here.Job == "" || there.Job == "" {
			continue
		}
		if both++; here.Job != there.Job {
			t.Errorf("instant %s has the jobs %s and %s", there.At, here.Job, there.Job)
		}
	}
	if both > 1 { // the newest one before is known to both, and is one job
		t.Errorf("%d instants are run at both", both)
	}
	if _, err := owner.PauseSchedule(t.Context(), "t", "tick", true); err == nil {
		t.Error("the old owner pauses what is another's")
	}
	if _, err := heir.PauseSchedule(t.Context(), "t", "tick", true); err != nil {
		t.Errorf("the heir cannot pause it: %v", err)
	}
	if err := heir.RemoveSchedule(t.Context(), "t", "tick"); err != nil {
		t.Errorf("the heir cannot remove it: %v", err)
	}
}

// What a majority of the keepers does not know is not acknowledged, and a
// schedule that was made alone is entered when there are keepers.
func TestScheduleNeedsItsKeepers(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 4)
	owner := f.nodes[0]
	early, _, err := owner.AddSchedule(t.Context(), "t", wire.ScheduleRequest{Name: "early", Cron: "@daily", Spec: spec()})
	if err != nil || early.Tenure != nil {
		t.Fatalf("AddSchedule without keepers = %+v, %v", early.Tenure, err)
	}
	f.keepRecord(shortLease)
	f.await("it is entered", func() bool {
		s, err := owner.Schedule(t.Context(), "t", "early")
		return err == nil && s.Tenure != nil
	})
	f.net.Partition(f.ids(0))
	if _, _, err := owner.AddSchedule(t.Context(), "t", wire.ScheduleRequest{Name: "late", Cron: "@daily", Spec: spec()}); err == nil {
		t.Error("a schedule is taken without the keepers")
	}
	f.net.Heal()
	if list, err := owner.Schedules(t.Context(), "t"); err != nil || len(list) != 1 {
		t.Errorf("schedules %v, %v, want the early one only", list, err)
	}
	f.await("keepers answer again", func() bool {
		_, _, err := owner.AddSchedule(t.Context(), "t", wire.ScheduleRequest{Name: "late", Cron: "@daily", Spec: spec()})
		return err == nil
	})
}

// A schedule that has no instant between drains is handed on however often, also
// to members that have had it; and all of them have when its owner is gone.
func TestScheduleGoesRound(t *testing.T) {
	t.Parallel()
	f := scheduling(t, 3)
	owner := f.nodes[0]
	if _, _, err := owner.AddSchedule(t.Context(), "t", wire.ScheduleRequest{Name: "rare", Cron: "@yearly", Spec: spec()}); err != nil {
		t.Fatal(err)
	}
	next := func(what string) (heir *bench) {
		f.await(what, func() bool {
			for _, b := range f.nodes {
				s, err := b.Schedule(t.Context(), "t", "rare")
				if err == nil && s.Away == "" && b != owner {
					heir = b
				}
			}
			return heir != nil
		})
		return heir
	}
	for n := range 5 {
		if _, err := owner.Drain(t.Context(), wire.DrainWish{}); err != nil {
			t.Fatal(err)
		}
		heir := next("it was handed on " + strconv.Itoa(n+1) + " times")
		if _, err := owner.Drain(t.Context(), wire.DrainWish{Undo: true}); err != nil {
			t.Fatal(err)
		}
		f.await("the owner before knows", func() bool {
			s, err := owner.Schedule(t.Context(), "t", "rare")
			return err == nil && s.Away == heir.key.ID()
		})
		owner = heir
	}
	f.lose(owner, true)
	owner.stop()
	next("it outlives its owner")
	f.lose(owner, false)
	owner.start()
}

// closed are keepers that take no schedules for a while.
type closed struct {
	sidecar.Record
	shut atomic.Bool
}

func (c *closed) Enter(ctx context.Context, e wire.Recorded) error {
	if c.shut.Load() && e.Schedule {
		return jobspec.KindNoQuorum.Errorf("they do not answer")
	}
	return c.Record.Enter(ctx, e)
}

// A schedule that is here and that the keepers lack, as when its first add was
// cut short, is not acknowledged before they have it. It stays all the same.
func TestScheduleAddedAgainIsEntered(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	owner := f.nodes[0]
	c := &closed{}
	owner.asks = func(r sidecar.Record) sidecar.Record {
		c.Record = r
		return c
	}
	add := func() (wire.Schedule, bool, error) {
		return owner.AddSchedule(t.Context(), "t", wire.ScheduleRequest{Name: "early", Cron: "@daily", Spec: spec()})
	}
	early, _, err := add()
	if err != nil || early.Tenure != nil {
		t.Fatalf("AddSchedule without keepers = %+v, %v", early.Tenure, err)
	}
	c.shut.Store(true)
	f.keepRecord(shortLease)
	if s, _, err := add(); !errors.Is(err, jobspec.KindNoQuorum.Error()) {
		t.Errorf("added again without the keepers: %+v, %v, want %s", s.Tenure, err, jobspec.KindNoQuorum)
	}
	c.shut.Store(false)
	s, created, err := add()
	if err != nil || created || s.ID != early.ID || s.Tenure == nil {
		t.Errorf("added again = %s (not %s), %t, %+v, %v", s.ID, early.ID, created, s.Tenure, err)
	}
}

// A dataset that is made anew under its name begins again for whoever follows it,
// and an heir goes on behind the version that was run last.
func TestScheduleOfADatasetMadeAnew(t *testing.T) {
	t.Parallel()
	f := scheduling(t, 4)
	keeper, owner := f.nodes[0], f.nodes[1]
	keeper.createDataset("logs")
	for day := range 3 {
		keeper.grow("logs", fmt.Sprint("day", day), "text")
	}
	if _, _, err := owner.AddSchedule(t.Context(), "t", wire.ScheduleRequest{Name: "each", OnChange: "logs", Spec: overDataset("logs", false)}); err != nil {
		t.Fatal(err)
	}
	if err := keeper.data.Remove(t.Context(), "t", "logs"); err != nil {
		t.Fatal(err)
	}
	keeper.createDataset("logs")
	keeper.grow("logs", "day3", "text")
	ran := func(b *bench, want ...string) func() bool {
		return func() bool {
			got := map[string]bool{}
			for _, i := range b.instants("each") {
				if i.State == jobspec.InstantSucceeded {
					got[i.Dataset] = true
				}
			}
			for _, w := range want {
				if !got[w] {
					return false
				}
			}
			return true
		}
	}
	f.await("the versions of the new one are run", ran(owner, "logs@1", "logs@2"))
	if _, err := owner.Drain(t.Context(), wire.DrainWish{}); err != nil {
		t.Fatal(err)
	}
	var heir *bench
	f.await("another member has it", func() bool {
		for _, b := range f.nodes {
			if s, err := b.Schedule(t.Context(), "t", "each"); err == nil && s.Away == "" && b != owner {
				heir = b
			}
		}
		return heir != nil
	})
	keeper.grow("logs", "day4", "text")
	f.await("the heir goes on", ran(heir, "logs@3"))
	for _, i := range heir.instants("each") {
		if i.Dataset == "logs@1" {
			t.Errorf("the heir ran %s again, as slot %d", i.Dataset, i.Slot)
		}
	}
}

// Who had a schedule before keeps nothing for its jobs, does not remove what goes
// on elsewhere, and forgets it when it was removed there.
func TestScheduleRemovedElsewhere(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	owner := f.nodes[0]
	owner.sweepEvery = 50 * time.Millisecond
	f.keepRecord(shortLease)
	root, _ := f.dataset(1)
	f.everywhere(root)
	code := spec()
	code.Run.Code = mustParse(t, root)
	if _, _, err := owner.AddSchedule(t.Context(), "t", wire.ScheduleRequest{Name: "rare", Cron: "@yearly", Spec: code}); err != nil {
		t.Fatal(err)
	}
	kept := func() int {
		pins, err := owner.ipfs.Pins(t.Context(), "schedule/")
		if err != nil {
			t.Fatal(err)
		}
		return len(pins)
	}
	if kept() == 0 { // the control
		t.Error("its owner keeps nothing for its jobs")
	}
	if _, err := owner.Drain(t.Context(), wire.DrainWish{}); err != nil {
		t.Fatal(err)
	}
	var heir *bench
	f.await("another member has it", func() bool {
		for _, b := range f.nodes[1:] {
			if s, err := b.Schedule(t.Context(), "t", "rare"); err == nil && s.Away == "" {
				heir = b
			}
		}
		return heir != nil
	})
	f.await("the owner before keeps nothing for it", func() bool { return kept() == 0 })
	if err := owner.RemoveSchedule(t.Context(), "t", "rare"); !errors.Is(err, jobspec.KindLeaseLost.Error()) {
		t.Errorf("what goes on elsewhere is removed: %v, want %s", err, jobspec.KindLeaseLost)
	}
	if err := heir.RemoveSchedule(t.Context(), "t", "rare"); err != nil {
		t.Fatal(err)
	}
	f.await("the owner before forgets it", func() bool {
		_, err := owner.Schedule(t.Context(), "t", "rare")
		return errors.Is(err, jobspec.KindNotFound.Error())
	})
}
