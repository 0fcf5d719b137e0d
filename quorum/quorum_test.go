package quorum_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
)

// One and two members keep no record; the third one makes them three keepers,
// the fifth one five, the sixth one changes nothing.
func TestKeepersAreTheOldest(t *testing.T) {
	c := newCouncil(t, 2)
	if k := c.all[0].Keepers(); k.Active() || k.Record != "" {
		t.Errorf("two members have keepers: %+v", k)
	}
	c.join()
	three := c.formed(3)
	c.join()
	c.join()
	five := c.formed(5)
	for _, id := range three {
		if !slices.Contains(five, id) {
			t.Errorf("%s kept the record and does not any more", id)
		}
	}
	c.join()
	six := c.formed(5)
	if slices.Contains(six, c.all[5].id()) {
		t.Errorf("the youngest of six is a keeper: %v", six)
	}
	e := c.all[5].enter() // a member that keeps nothing enters jobs too
	if got := c.all[0].found(e.Job); got.Owner != c.all[5].id() || got.Epoch != 1 {
		t.Errorf("record says %+v", got)
	}
}

// Who is revoked keeps nothing any more, and another takes its place.
func TestRevokedKeeperIsReplaced(t *testing.T) {
	c := newCouncil(t, 4)
	c.formed(3)
	var out *seat
	for _, id := range c.all[0].Keepers().Voters {
		if s := c.seat(id); s != c.leader() {
			out = s
		}
	}
	c.revoke(out, true)
	out.stop()
	c.await("the revoked is replaced", func() bool {
		v := c.leader().Keepers().Voters
		return len(v) == 3 && !slices.Contains(v, out.id())
	})
	c.all[0].enter()
}

// A member that leaves keeps nothing; two that are left have no keepers.
func TestLeaveEndsTheRecordOfThree(t *testing.T) {
	c := newCouncil(t, 3)
	c.formed(3)
	goes := c.all[2]
	if err := goes.Leave(c.ctx(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := goes.Renew(c.ctx(2*time.Minute), nil); err == nil {
		t.Error("who has taken its leave renews")
	}
	goes.stop()
	c.await("two have no keepers", func() bool { return !c.all[0].Keepers().Active() && !c.all[1].Keepers().Active() })
	c.join()
	c.formed(3)
}

// When two of three are revoked there is no majority to say so; the last one
// goes on by itself.
func TestMajorityIsRevoked(t *testing.T) {
	c := newCouncil(t, 3)
	c.formed(3)
	e := c.all[0].enter()
	c.all[1].stop()
	c.all[2].stop()
	c.revoke(c.all[1], true)
	c.revoke(c.all[2], true)
	c.await("the last one is by itself", func() bool { return len(c.all[0].Keepers().Voters) == 1 })
	if got := c.all[0].found(e.Job); got.Owner != c.all[0].id() {
		t.Errorf("the record says %+v", got)
	}
	c.join()
	c.join()
	c.await("there are three again", func() bool { return c.all[0].Keepers().Active() && c.all[4].Keepers().Active() })
	if got := c.all[4].found(e.Job); got.Epoch != 1 {
		t.Errorf("the record says %+v", got)
	}
}

// A keeper of long ago, which was away when others took its place, does not go on
// by itself when all that it knew are revoked: there would be two records.
func TestKeeperOfLongAgoDoesNotRecover(t *testing.T) {
	c := newCouncil(t, 4)
	first := c.formed(3)
	old, last := c.seat(first[0]), c.all[0]
	if old == c.leader() { // the next one was the next keeper, and so has heard of itself
		old = c.seat(first[1])
	}
	for _, s := range c.all {
		if !slices.Contains(first, s.id()) {
			last = s
		}
	}
	old.stop()
	c.revoke(old, true)
	c.await("another takes its place", func() bool {
		v := last.Keepers().Voters
		return len(v) == 3 && !slices.Contains(v, old.id()) && slices.Contains(v, last.id())
	})
	e := last.enter()
	for _, id := range first {
		c.seat(id).stop()
		c.revoke(c.seat(id), true)
	}
	c.await("the new one is by itself", func() bool { return slices.Equal(last.Keepers().Voters, []identity.ID{last.id()}) })
	c.revoke(old, false)
	old.mute.Store(true) // or it would be made a keeper again
	old.start()
	c.await("who was away hears who keeps the record", func() bool { return slices.Equal(old.Keepers().Voters, []identity.ID{last.id()}) })
	if got := old.found(e.Job); got.Owner != last.id() {
		t.Errorf("the record says %+v", got)
	}
}

// A job survives the restart of each keeper and the death of the leader.
func TestRecordSurvives(t *testing.T) {
	c := newCouncil(t, 3)
	c.formed(3)
	e := c.all[0].enter()
	for _, s := range c.all {
		s.stop()
		s.start()
	}
	if got := c.all[1].found(e.Job); got.Owner != c.all[0].id() || got.SpecCID != e.SpecCID {
		t.Errorf("after restarts the record says %+v", got)
	}
	dead := c.leader()
	dead.stop()
	var left *seat
	for _, s := range c.all {
		if s != dead {
			left = s
		}
	}
	f := left.enter()
	if got := left.found(f.Job); got.Owner != left.id() {
		t.Errorf("without the leader the record says %+v", got)
	}
	dead.start()
	if got := dead.found(f.Job); got.Owner != left.id() {
		t.Errorf("who was away hears %+v", got)
	}
}

// The side of a partition without a majority takes nothing, and says of how
// many it hears; the other one goes on.
func TestNoMajority(t *testing.T) {
	c := newCouncil(t, 3)
	c.formed(3)
	alone := c.all[0]
	c.net.Partition([]identity.ID{alone.id()})
	err := alone.Enter(c.ctx(20*time.Second), alone.entry()) // some rounds: each other one takes a second to be silent
	f := jobspec.AsFailure(err)
	if f.Kind != jobspec.KindNoQuorum || !strings.Contains(f.Detail, "1 of 3 keepers") || !strings.Contains(f.Hint, c.all[1].id().String()) {
		t.Errorf("alone: %v (%s), want a refusal with the numbers", err, f.Hint)
	}
	c.all[1].enter()
	c.net.Heal()
	alone.enter()
}

// An owner that is silent for three leases loses its job to another one, and
// can neither end it nor publish when it is back; the new owner can, once.
func TestStaleEpochIsRefused(t *testing.T) {
	c := newCouncil(t, 4)
	c.formed(3)
	owner := c.all[3]
	e, alive := owner.enter(), c.all[0].enter()
	owner.mute.Store(true)
	c.await("the job is granted", func() bool { return owner.found(e.Job).Epoch == 2 })
	now := owner.found(e.Job)
	if now.Owner == owner.id() || !slices.Equal(now.Past, []identity.ID{owner.id()}) {
		t.Fatalf("record says %+v", now)
	}
	if got := owner.found(alive.Job); got.Epoch != 1 {
		t.Errorf("the job of a live owner went to %s", got.Owner)
	}
	heir := c.seat(now.Owner)
	c.await("the heir hears of it", func() bool {
		heir.mu.Lock()
		defer heir.mu.Unlock()
		return len(heir.got) == 1 && heir.got[0].Job == e.Job
	})
	owner.mute.Store(false)
	c.await("the old owner hears of it", func() bool {
		owner.mu.Lock()
		defer owner.mu.Unlock()
		return len(owner.lost) == 1 && owner.lost[0].Owner == heir.id()
	})
	err := owner.End(c.ctx(2*time.Minute), ending(e, jobspec.JobPublished))
	if !errors.Is(err, jobspec.KindLeaseLost.Error()) || !strings.Contains(err.Error(), heir.id().String()) {
		t.Errorf("the old owner ends it: %v, want a refusal that names the new one", err)
	}
	forged := ending(now, jobspec.JobPublished) // the right epoch, by somebody else
	if err := owner.End(c.ctx(2*time.Minute), forged); !errors.Is(err, jobspec.KindLeaseLost.Error()) {
		t.Errorf("the old owner ends it under the new epoch: %v", err)
	}
	if err := heir.End(c.ctx(2*time.Minute), ending(now, jobspec.JobPublished)); err != nil { // the control
		t.Errorf("the new owner ends it: %v", err)
	}
	if got := owner.found(e.Job); got.State != jobspec.JobPublished {
		t.Errorf("record says %+v", got)
	}
}

// A job that its owner cannot run goes on to each other member once.
func TestPass(t *testing.T) {
	c := newCouncil(t, 3)
	c.formed(3)
	e := c.all[0].enter()
	first := claimOf(e)
	c.await("all are heard", func() bool { return c.all[0].Pass(c.ctx(2*time.Minute), first) == nil })
	if err := c.all[0].Pass(c.ctx(2*time.Minute), first); err != nil {
		t.Errorf("the same again, as after a lost answer: %v", err)
	}
	if got := c.all[0].found(e.Job); got.Epoch != 2 {
		t.Errorf("the same again makes epoch %d of it", got.Epoch)
	}
	for range 1 {
		e = c.all[0].found(e.Job)
		if err := c.seat(e.Owner).Pass(c.ctx(2*time.Minute), claimOf(e)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.all[0].Pass(c.ctx(2*time.Minute), first); !errors.Is(err, jobspec.KindLeaseLost.Error()) {
		t.Errorf("the first one passes it on two epochs later: %v", err)
	}
	e = c.all[0].found(e.Job)
	err := c.seat(e.Owner).Pass(c.ctx(2*time.Minute), claimOf(e))
	if !errors.Is(err, jobspec.KindConflict.Error()) || e.Epoch != 3 {
		t.Errorf("the third of three passes it on: %v, epoch %d", err, e.Epoch)
	}
}
