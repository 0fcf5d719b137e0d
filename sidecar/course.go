package sidecar

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
)

// course is a task's way through its attempts: one after the other, and beside
// one that takes far longer than other tasks a second one, its backup. The first
// valid report wins; whoever else is at it is told to stop.
type course struct {
	*driver
	st   stage
	job  jobspec.Job  // with the stage's spec
	plan jobspec.Plan // of the stage
	task jobspec.Task
	gate *gate // of a gang's task; else nil

	// Only the goroutine of run uses these.
	tried  int // number of the last attempt
	failed int // attempts that ended badly of themselves
	backed bool
	since  time.Time // the task waits
	live   map[*runner]context.CancelCauseFunc
	ended  chan *runner // each one of live, once; never closed

	mu      sync.Mutex
	winner  jobspec.AttemptID           // the zero value while nobody has won
	at      map[jobspec.AttemptID]stand // of those that are made
	archive jobspec.CID                 // of the image, once a member has asked for it
	shunned map[identity.ID]bool        // members that the task does not go to any more
}

// stand is how an attempt stands.
type stand struct {
	node  identity.ID
	began time.Time // its program; zero = it has not, or nobody knows
}

// runTask tries a task until an attempt succeeds, its failure is not to be
// retried, or the tries are used up. before are the attempts of earlier
// processes, oldest first.
func (d *driver) runTask(ctx context.Context, st stage, plan jobspec.Plan, task jobspec.Task, before []jobspec.Attempt) error {
	c := &course{
		driver: d, st: st, job: st.Job, plan: plan, task: task, live: map[*runner]context.CancelCauseFunc{}, ended: make(chan *runner),
		at: map[jobspec.AttemptID]stand{}, shunned: map[identity.ID]bool{}, since: waitsSince(before, d.now()), gate: d.gate,
	}
	if done, err := c.takeUp(ctx, before); done {
		return err
	}
	return c.run(ctx)
}

// takeUp goes on with what an earlier process left. It reports true when the
// task has its end already.
func (c *course) takeUp(ctx context.Context, before []jobspec.Attempt) (done bool, err error) {
	var left []*runner
	for _, a := range before {
		c.tried = max(c.tried, a.ID.Try)
		switch r := (&runner{course: c, this: a.ID, att: a}); {
		case succeeded(a):
			c.winner, done = a.ID, true
		case !reported(a) && !a.State.Final():
			left = append(left, r)
		case !outrun(a):
			c.failed++
			err = c.verdict(r)
		}
	}
	if err != nil && !done && len(left) == 0 {
		return true, err
	}
	for _, r := range left {
		if done {
			err = errors.Join(err, r.drop())
		} else {
			c.goes(r.this, identity.ID(r.att.Node))
			c.start(ctx, r, r.resume)
		}
	}
	c.backed = len(left) > 1
	if done {
		return true, err
	}
	return false, nil
}

// run makes attempts until one of them decides the task.
func (c *course) run(ctx context.Context) error {
	look := time.NewTicker(c.pace.every())
	defer look.Stop()
	if len(c.live) == 0 {
		c.next(ctx)
	}
	for {
		select {
		case r := <-c.ended:
			c.leaves(r)
			if done, err := c.decide(ctx, r); done {
				return err
			}
		case <-look.C:
			c.backUp(ctx)
			c.overflow(ctx)
		}
	}
}

// start lets a runner do its work until the course is decided.
func (c *course) start(ctx context.Context, r *runner, work func(context.Context) error) {
	ctx, cancel := context.WithCancelCause(ctx)
	c.live[r] = cancel
	c.work.Go(func() {
		defer cancel(nil)
		r.err = work(ctx)
		c.ended <- r
	})
}

// next begins another attempt, after a pause that grows with those that failed.
func (c *course) next(ctx context.Context) {
	r := c.runner()
	c.backed = false
	c.start(ctx, r, func(ctx context.Context) error {
		if c.failed > 0 {
			pause(ctx, c.failed)
		}
		return r.attempt(ctx)
	})
}

// runner returns one for the next attempt.
func (c *course) runner() *runner {
	c.tried++
	return &runner{course: c, this: jobspec.AttemptID{Job: c.id, Task: c.task.Index, Try: c.tried}}
}

// decide says whether the end of one attempt is that of the task. Then the
// others have ended too.
func (c *course) decide(ctx context.Context, r *runner) (done bool, err error) {
	switch {
	case r.err != nil && ctx.Err() == nil && len(c.live) > 0:
		c.log.Warn("attempt", "attempt", r.this, "err", r.err) // the other one goes on
		return false, nil
	case r.err != nil:
		c.halt(errSibling)
		return true, r.err
	case succeeded(r.att):
		c.pace.add(r.att)
		c.halt(errOutrun)
		return true, nil
	case outrun(r.att) && len(c.live) > 0: // the other one has won and is to end, or goes on
		c.backed = c.won()
		return false, nil
	}
	c.failed++
	c.yield(r.this)
	if err := c.verdict(r); err != nil {
		c.halt(errSibling)
		return true, err
	}
	if len(c.live) == 0 {
		c.next(ctx)
	}
	return false, nil
}

// verdict returns the failure of an attempt when the task is not tried again.
// Tasks of another node's job are that node's to try again.
func (c *course) verdict(r *runner) error {
	if r.att.Failure == nil {
		r.att.Failure = &jobspec.Failure{Kind: jobspec.KindLost, Where: fmt.Sprintf("task %d", c.task.Index), Detail: "was given up without a reason"}
	}
	retry := c.job.Spec.Retry
	if c.job.Origin == nil && c.failed < retry.Attempts && slices.Contains(retry.On, r.att.Failure.Kind) {
		return nil
	}
	return r.att.Failure.Error()
}

// halt ends all attempts that are still made.
func (c *course) halt(why error) {
	for _, cancel := range c.live {
		cancel(why)
	}
	for len(c.live) > 0 {
		c.leaves(<-c.ended)
	}
}

// leaves notes that an attempt has ended.
func (c *course) leaves(r *runner) {
	delete(c.live, r)
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.at, r.this)
}

// outrun says whether an attempt was given up because another one was first,
// which is no fault of its own.
func outrun(a jobspec.Attempt) bool {
	return a.State == jobspec.AttemptAbandoned && a.Failure != nil && a.Failure.Kind == jobspec.KindLeaseLost
}

// win reports whether an attempt is the first of its task with a valid report.
func (c *course) win(id jobspec.AttemptID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.winner == (jobspec.AttemptID{}) {
		c.winner = id
	}
	return c.winner == id
}

func (c *course) won() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.winner != (jobspec.AttemptID{})
}

// yield gives up a first place that did not come into the record.
func (c *course) yield(id jobspec.AttemptID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.winner == id {
		c.winner = jobspec.AttemptID{}
	}
}

// first reports whether what the runner is about to record counts. A failure
// decides by itself.
func (r *runner) first() bool { return r.att.Failure != nil || r.win(r.this) }

// drop gives up an attempt of an earlier process that came too late.
func (r *runner) drop() error {
	if r.elsewhere() {
		r.revoke(identity.ID(r.att.Node))
		return r.abandonAway(errOutrun)
	}
	if res, ok := r.claim(r.att.ID); ok {
		r.placer.release(res)
	}
	return r.abandon(errOutrun)
}
