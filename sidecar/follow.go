package sidecar

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// takeTries is how often an output that a member does not give is asked for.
const takeTries = 5

// follow waits for the attempt's report, for as long as the member gives signs
// of life. What it reports is fetched beside that, however large it is.
func (r *runner) follow(ctx context.Context, a *away) error {
	lease := time.NewTimer(r.cfg.Lease)
	defer lease.Stop()
	fetching, cancel := context.WithCancel(ctx)
	got, tries := make(chan taken, 1), 0
	ends := a.ends // nil while an outcome is being taken in
	tailed := make(chan struct{})
	r.work.Go(func() {
		defer close(tailed)
		r.tailLog(fetching, a)
	})
	defer func() {
		cancel()
		if ends == nil {
			<-got
		}
		<-tailed
		a.tail.close()
	}()
	for {
		select {
		case <-ctx.Done():
			return r.giveUp(ctx)
		case b := <-a.beats:
			lease.Reset(r.cfg.Lease)
			r.beatFrom(ctx, a, b)
		case c := <-ends:
			lease.Reset(r.cfg.Lease)
			ends = nil
			r.work.Go(func() { got <- r.takeIn(fetching, a, c) })
		case t := <-got:
			lease.Reset(r.cfg.Lease)
			ends = a.ends
			tries++
			if done, err := r.resolve(ctx, a, t, tries); done {
				return err
			}
		case <-lease.C:
			return r.lose(a, fmt.Sprintf("no sign of life of %s for %s", a.node.Short(), r.cfg.Lease))
		}
	}
}

// beatFrom notes what a sign of life tells.
func (r *runner) beatFrom(ctx context.Context, a *away, b wire.Beat) {
	if b.Waiting != "" {
		r.waits(ctx, fmt.Sprintf("task %d at %s %s", r.task.Index, a.node.Short(), b.Waiting))
	}
	if b.Ran > 0 {
		r.runs(r.this, r.now().Add(-b.Ran.Std()))
	}
	r.tellsCheckpoint(a, b.Checkpoint)
	r.progress(ctx, r.job, r.task.Index, b.ItemsDone, false)
}

// lose gives up an attempt that will come to no end, or to none that holds.
func (r *runner) lose(a *away, why string) error {
	r.revoke(a.node)
	r.shun(a.node)
	return r.abandonAway(jobspec.KindLost.Errorf("%s", why))
}

// resolve makes what was taken in the record, or says why it is none. It reports
// false when the member is to report once more.
func (r *runner) resolve(ctx context.Context, a *away, t taken, tries int) (done bool, err error) {
	if err = t.err; err == nil && t.row.Failure == nil && !r.win(r.this) {
		r.revoke(a.node)
		return true, r.abandonAway(errOutrun)
	}
	if err == nil {
		before, watch := r.att, r.watch
		r.att, r.outcome, r.watch.spent = t.row, t.outcome, t.row.Phases
		r.progress(ctx, r.job, r.task.Index, r.att.ItemsDone, true)
		if err = r.save(jobspec.AttemptRecorded); err == nil {
			return true, nil
		}
		r.att, r.watch = before, watch
	}
	if ctx.Err() != nil {
		return false, nil // follow looks why
	}
	if errors.Is(err, errLacksImage) {
		return true, err
	}
	r.log.Warn("report is not taken in", "attempt", r.att.ID, "member", a.node.Short(), "try", tries, "err", err)
	var fe *jobspec.FailureError
	switch {
	case !errors.As(err, &fe), fe.Failure.Kind == jobspec.KindInternal:
		return false, nil // of this node
	case fe.Failure.Kind == jobspec.KindLost:
		return true, r.lose(a, fe.Failure.Detail)
	case fe.Failure.Kind != jobspec.KindFetchTimeout:
		return true, r.lose(a, fmt.Sprintf("%s reported what does not hold: %s", a.node.Short(), fe.Failure.Detail))
	case tries >= takeTries:
		return true, r.lose(a, fmt.Sprintf("%s does not give what it reported, after %d tries: %s", a.node.Short(), tries, fe.Failure.Detail))
	}
	return false, nil
}
