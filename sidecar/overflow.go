package sidecar

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
)

// overflow takes the task to a node that was kept for later, when its only
// attempt has waited too long for its program to begin. That attempt ends: it
// has done nothing yet.
func (c *course) overflow(ctx context.Context) {
	o := c.job.Spec.Place.Overflow
	if o.To == "" || len(c.live) != 1 || c.job.Origin != nil || c.now().Sub(c.since) < o.After.Std() || c.hasBegun() {
		return
	}
	node, ok := c.keptForLater()
	if !ok {
		return
	}
	for _, cancel := range c.live {
		cancel(errOutrun)
	}
	c.since = c.now() // it may have to wait once more
	r := c.runner()
	c.log.Info("task overflows", "attempt", r.this, "after", o.After, "member", node.Short())
	c.note(ctx, jobspec.Event{Job: c.id, Type: jobspec.EventWait, Task: c.task.Index, Detail: fmt.Sprintf(
		"task %d has waited %s and goes to %s (%s)", c.task.Index, o.After, node.Short(), o.To)})
	c.start(ctx, r, func(ctx context.Context) error {
		if node == c.Sidecar.id {
			return r.here(ctx)
		}
		if taken, err := r.send(ctx, node); taken || err != nil {
			return err
		}
		return r.attempt(ctx)
	})
}

// hasBegun says whether the program of some attempt has begun.
func (c *course) hasBegun() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.at {
		if !s.began.IsZero() {
			return true
		}
	}
	return false
}

// keptForLater finds a node that was kept for tasks that waited: one with room
// first, then the nearest by hash. None when such a one has the task already.
func (c *course) keptForLater() (identity.ID, bool) {
	made := c.makers()
	late := c.sites(c.job, c.plan).late()
	if slices.ContainsFunc(late, func(s *site) bool { return made[s.id] }) {
		return "", false
	}
	late = late.that(func(s *site) bool { return s.id == c.Sidecar.id || c.asks(s.id) })
	if len(late) == 0 {
		return "", false
	}
	full := func(s *site) int { return boolInt(c.job.Spec.Resources.Slots(s.peer.Free) == 0) }
	return slices.MinFunc(late, func(a, b *site) int {
		return cmp.Or(full(a)-full(b), strings.Compare(c.far(a), c.far(b)))
	}).id, true
}

// waitsSince is when a task began to wait: with its first attempt, or now.
func waitsSince(before []jobspec.Attempt, now time.Time) time.Time {
	if len(before) > 0 {
		return before[0].Leased
	}
	return now
}
