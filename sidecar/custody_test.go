package sidecar_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/wire"
)

// custodies are the pins by which a node holds what jobs of others need.
func (b *bench) custodies() int {
	b.t.Helper()
	pins, err := b.ipfs.Pins(b.t.Context(), "record/")
	if err != nil {
		b.t.Fatal(err)
	}
	return len(pins)
}

// undecided is a record whose keepers have no leader. What is asked about a job
// waits for as long as the test wants, as it does for seconds with real keepers.
type undecided struct {
	sidecar.Record
	cut   atomic.Bool
	asked atomic.Int64
	waits chan struct{}
	told  atomic.Bool // a sign of life was given
}

func (u *undecided) Over(ctx context.Context, id jobspec.JobID) (bool, error) {
	if !u.cut.Load() {
		return u.Record.Over(ctx, id)
	}
	u.asked.Add(1)
	<-u.waits
	return false, jobspec.KindNoQuorum.Errorf("there is no leader")
}

func (u *undecided) Renew(ctx context.Context, claims []wire.Claim) (wire.Renewed, error) {
	if u.cut.Load() {
		u.told.Store(true)
		return wire.Renewed{}, jobspec.KindNoQuorum.Errorf("there is no leader")
	}
	return u.Record.Renew(ctx, claims)
}

// A keeper that hears of no leader does not stand still over what it holds for
// jobs of others: its own work goes on meanwhile, and it asks about one of them
// only.
func TestKeeperWithoutLeaderGoesOn(t *testing.T) {
	f := newFleet(t, 3)
	owner, keeper, u := f.nodes[0], f.nodes[1], &undecided{waits: make(chan struct{})}
	release := sync.OnceFunc(func() { close(u.waits) })
	t.Cleanup(release)
	keeper.sweepEvery = time.Hour // only the first one, and those below
	keeper.asks = func(r sidecar.Record) sidecar.Record {
		u.Record = r
		return u
	}
	f.keepRecord(shortLease)
	id := keeper.submit(spec("DUMMY_SLEEP=1h"))
	keeper.until(id, jobspec.AttemptRunning)
	var others []string
	f.await("the keeper holds what several need", func() bool { // the other one may hold more of them
		others = append(others, owner.submit(spec("DUMMY_SLEEP=1h")))
		return keeper.custodies() > 2
	})

	keeper.stop()
	u.cut.Store(true)
	keeper.start()
	f.await("it asks about a job of another", func() bool { return u.asked.Load() > 0 })
	f.await("it gives signs of life meanwhile", u.told.Load)
	f.await("its own job goes on meanwhile", func() bool {
		for _, b := range f.nodes { // wherever it runs
			b.state.Release()
		}
		j, err := keeper.Job(t.Context(), "t", id)
		return err == nil && len(j.Attempts) > 0 && (j.Attempts[0].State == jobspec.AttemptRecorded || j.Attempts[0].State == jobspec.AttemptCleaned)
	})
	release()
	before := u.asked.Load()
	if err := keeper.SweepCustody(t.Context()); err != nil {
		t.Error(err)
	}
	if n := u.asked.Load() - before; n != 1 {
		t.Errorf("in one sweep it asks about %d jobs, want one", n)
	}
	u.cut.Store(false) // the control: it asks about all when there is a leader
	for _, id := range others {
		if _, err := owner.Stop(t.Context(), "t", id); err != nil && !errors.Is(err, jobspec.KindConflict.Error()) { // some have ended
			t.Fatal(err)
		}
		owner.final(id)
	}
	f.await("it lets all of them go", func() bool {
		if err := keeper.SweepCustody(t.Context()); err != nil {
			t.Error(err)
		}
		return keeper.custodies() == 0
	})
}

// What an acknowledged job and a schedule need is held by a majority of those who
// keep the record now, also when a keeper that held it was replaced.
func TestCustodyMovesWithTheKeepers(t *testing.T) {
	t.Parallel()
	f := newRecorded(t, 4, shortLease)
	owner := f.nodes[0]
	voters := func() []identity.ID { return owner.status().Keepers.Voters }
	f.await("the owner and two others are the keepers", func() bool { return len(voters()) == 3 })
	var holder, other *bench // keepers, besides the owner if it is one
	for i, b := range f.nodes {
		switch k := owner.status().Keepers; {
		case i == 0 || !slices.Contains(k.Voters, b.key.ID()):
		case other == nil && b.key.ID() != k.Leader:
			other = b
		default:
			holder = b
		}
	}
	if !slices.Contains(voters(), owner.key.ID()) || holder == nil || other == nil {
		t.Fatalf("keepers are %v, want the founder among them", voters())
	}
	code := owner.input("main.py")
	s := spec("DUMMY_SLEEP=1h")
	s.Run.Code = mustParse(t, code)
	names := map[string]string{}
	f.net.Partition([]identity.ID{other.key.ID()}) // so that one keeper beside the owner holds it
	f.await("the job is taken", func() bool {
		j, _, err := owner.Submit(t.Context(), api.Submission{Tenant: "t", Spec: s})
		names["job"] = j.ID.String()
		return err == nil
	})
	f.await("the schedule is taken", func() bool {
		sch, _, err := owner.AddSchedule(t.Context(), "t", wire.ScheduleRequest{Name: "daily", Cron: "@daily", Spec: s})
		names["schedule"] = sch.ID.String()
		return err == nil
	})
	f.net.Heal()
	holds := func(b *bench, id string) bool { // code and spec
		pins, err := b.ipfs.Pins(t.Context(), "record/"+owner.key.ID().String()+"/"+id+"/")
		if err != nil {
			t.Fatal(err)
		}
		return len(pins) == 2
	}
	for what, id := range names {
		if !holds(holder, id) {
			t.Fatalf("the keeper that was there does not hold what the %s needs", what)
		}
	}
	f.lose(holder, true)
	holder.stop()
	f.await("it is replaced", func() bool {
		v := voters()
		return len(v) == 3 && !slices.Contains(v, holder.key.ID())
	})
	for what, id := range names {
		f.await("most of the present keepers hold what the "+what+" needs", func() bool {
			return slices.ContainsFunc(f.nodes[1:], func(b *bench) bool { return b != holder && slices.Contains(voters(), b.key.ID()) && holds(b, id) })
		})
	}
}
