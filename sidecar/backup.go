package sidecar

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
)

// A task takes too long when it runs tooLong times as long as half of the tasks
// of its job took, of which enough have to be done.
const (
	tooLong = 3
	enough  = 3
)

// pace knows how long the tasks of a job take.
type pace struct {
	least time.Duration // what runs shorter is never too long

	mu   sync.Mutex
	took []time.Duration // of tasks that succeeded, in order
}

// newPace starts with what tasks of an earlier process took.
func newPace(least time.Duration, attempts map[int][]jobspec.Attempt) *pace {
	p := &pace{least: least}
	for _, list := range attempts {
		for _, a := range list {
			if succeeded(a) {
				p.add(a)
			}
		}
	}
	return p
}

// add takes in an attempt that succeeded.
func (p *pace) add(a jobspec.Attempt) {
	took := max(a.Exited.Sub(a.Started), 0)
	p.mu.Lock()
	defer p.mu.Unlock()
	i, _ := slices.BinarySearch(p.took, took)
	p.took = slices.Insert(p.took, i, took)
}

// limit is how long a task may run before it takes too long; false while too
// few are done to say.
func (p *pace) limit() (time.Duration, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.took) < enough {
		return 0, false
	}
	return max(tooLong*p.took[len(p.took)/2], p.least), true
}

// every is how often to look.
func (p *pace) every() time.Duration { return max(p.least/4, 10*time.Millisecond) }

// goes notes which node makes an attempt.
func (c *course) goes(id jobspec.AttemptID, node identity.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at[id] = stand{node: node}
}

// runs notes that the program of an attempt has begun.
func (c *course) runs(id jobspec.AttemptID, since time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at[id] = stand{c.at[id].node, since}
}

// backUp begins a second attempt on another node when the only one takes too
// long. Jobs that reach into a network, or that are to be tried once, get none:
// they may do what is not to be done twice.
func (c *course) backUp(ctx context.Context) {
	if c.backed || len(c.live) != 1 || c.job.Origin != nil || len(c.job.Spec.Network) > 0 || c.job.Spec.Retry.Attempts < 2 {
		return
	}
	limit, ok := c.pace.limit()
	id, ran := c.longest()
	if !ok || ran <= limit {
		return
	}
	node, ok := c.spare(ctx, true)
	if !ok {
		return
	}
	c.backed = true
	r := c.runner()
	c.log.Info("backup attempt", "attempt", r.this, "of", id, "ran", ran, "limit", limit, "member", node.Short())
	c.note(ctx, jobspec.Event{Job: c.id, Type: jobspec.EventWait, Task: c.task.Index, Detail: fmt.Sprintf(
		"task %d has run for %s, over %s: %s tries it too", c.task.Index, ran.Round(time.Millisecond), limit.Round(time.Millisecond), node.Short())})
	c.start(ctx, r, func(ctx context.Context) error { return r.second(ctx, node) })
}

// longest is the live attempt whose program has run for the longest time.
func (c *course) longest() (id jobspec.AttemptID, ran time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for r := range c.live {
		if s := c.at[r.this]; !s.began.IsZero() && c.now().Sub(s.began) >= ran {
			id, ran = r.this, c.now().Sub(s.began)
		}
	}
	return id, ran
}

// second makes a backup attempt. One that its node does not take counts for
// nothing.
func (r *runner) second(ctx context.Context, node identity.ID) error {
	if node == r.Sidecar.id {
		return r.here(ctx)
	}
	taken, err := r.send(ctx, node)
	if err == nil && !taken {
		err = r.abandonAway(leaseLost(r.this.String()))
	}
	return err
}
