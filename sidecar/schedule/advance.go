package schedule

import (
	"context"
	"errors"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
)

// advance makes the jobs of due instants and notes how those of started ones
// ended. list has all that are live, the earliest first. It reports whether some
// have not ended.
func (e *Engine) advance(ctx context.Context, s jobspec.Schedule, list []jobspec.Instant) (live bool, err error) {
	busy := false // an earlier instant has not ended
	for n, i := range list {
		if i.State == jobspec.InstantStarted {
			i, err = e.ended(ctx, s, i)
		}
		if i.State == jobspec.InstantDue && err == nil {
			switch {
			case s.Away != "" && !e.made(ctx, s, i):
				i, err = e.giveUp(ctx, s, i, jobspec.MissedMoved, s.Away.String()+" owns the schedule now and decides about it")
			case i.Kind == jobspec.InstantChange && i.Slot <= base(s) && !e.made(ctx, s, i):
				i, err = e.giveUp(ctx, s, i, jobspec.MissedRefused, "the dataset was made anew before "+i.Dataset+" had its turn")
			case !e.cfg.Holder.Ready(s), busy && s.Overlap == jobspec.OverlapForbid:
			default:
				if s.Overlap == jobspec.OverlapReplace {
					err = e.replace(ctx, s, list[:n])
				}
				if err == nil {
					i, err = e.submit(ctx, s, i)
				}
			}
		}
		if err != nil {
			return true, err
		}
		list[n] = i
		busy = busy || i.State.Live()
	}
	return busy, nil
}

// ended looks whether the job of an instant has ended, and notes that.
func (e *Engine) ended(ctx context.Context, s jobspec.Schedule, i jobspec.Instant) (jobspec.Instant, error) {
	end, over, err := e.cfg.Jobs.Ended(ctx, s.Tenant, i.Job)
	switch {
	case errors.Is(err, jobspec.KindNotFound.Error()):
		end = End{State: jobspec.JobFailed, Detail: "the job was removed before its end was noted", Finished: e.now()}
	case err != nil:
		e.log.Debug("how a job ended is not known yet", "schedule", s.Name, "job", i.Job, "err", err)
		return i, nil
	case !over:
		return i, nil
	}
	i.Result, i.Finished = end.Result, end.Finished
	switch end.State {
	case jobspec.JobFailed:
		i.State = jobspec.InstantFailed
	case jobspec.JobStopped:
		i.State = jobspec.InstantStopped
	default:
		i.State = jobspec.InstantSucceeded
	}
	if i.State != jobspec.InstantSucceeded && i.Detail == "" {
		i.Detail = clip(end.Detail)
	}
	if err := e.put(ctx, i, "instant-ended"); err != nil {
		return i, err
	}
	e.metrics.noted(i)
	e.log.Info("instant", "schedule", s.Name, "at", i.At, "state", i.State, "job", i.Job, "cid", i.Result)
	return i, nil
}

// submit makes the job of a due instant. What was refused for now is tried
// again, until it is given up.
func (e *Engine) submit(ctx context.Context, s jobspec.Schedule, i jobspec.Instant) (jobspec.Instant, error) {
	if at, refused := e.retryAt(i); refused && e.cfg.Elapsed() < at {
		return i, nil
	}
	if err := e.step("instant-started.before-effect"); err != nil {
		return i, err
	}
	r := Run{Instant: i, Tenant: s.Tenant, Spec: inputOf(s, i)}
	r.Job = i.JobID()
	if s.Tenure != nil {
		r.Epoch = s.Tenure.Epoch
	}
	err := e.make(ctx, r)
	if serr := e.step("instant-started.after-effect"); serr != nil {
		return i, serr
	}
	if ctx.Err() != nil {
		return i, ctx.Err()
	}
	if err == nil {
		i.State, i.Job, i.Started, i.Detail = jobspec.InstantStarted, r.Job, e.now().Truncate(time.Millisecond), ""
		e.setRetry(i, 0)
		e.log.Info("instant", "schedule", s.Name, "at", i.At, "state", i.State, "job", i.Job)
		return i, e.put(ctx, i, "instant-started")
	}
	f := jobspec.AsFailure(err)
	if (!retryable(f.Kind) || e.now().Sub(i.Noted) > e.patience(s, i)) && !e.made(ctx, s, i) {
		e.setRetry(i, 0)
		return e.giveUp(ctx, s, i, jobspec.MissedRefused, f.Error().Error())
	}
	e.log.Debug("job of an instant is refused for now", "schedule", s.Name, "at", i.At, "err", err)
	e.setRetry(i, e.cfg.Elapsed()+retryEvery)
	return i, nil
}

// make submits a job within bounds.
func (e *Engine) make(ctx context.Context, r Run) error {
	ctx, cancel := context.WithTimeoutCause(ctx, e.cfg.Within, jobspec.KindFetchTimeout.Errorf("its job was not taken within %s", e.cfg.Within))
	defer cancel()
	err := e.cfg.Jobs.Submit(ctx, r)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return context.Cause(ctx)
	}
	return err
}

// made reports whether a due instant may have a job, as when the node was killed
// before it noted that: such an instant is not missed.
func (e *Engine) made(ctx context.Context, s jobspec.Schedule, i jobspec.Instant) bool {
	_, _, err := e.cfg.Jobs.Ended(ctx, s.Tenant, i.JobID())
	return !errors.Is(err, jobspec.KindNotFound.Error())
}

// retryEvery is between two tries to submit.
const retryEvery = 5 * time.Second

// retryable reports whether a refusal may pass by itself.
func retryable(k jobspec.Kind) bool {
	switch k {
	case jobspec.KindSpec, jobspec.KindPolicy, jobspec.KindDupKey, jobspec.KindImageRef, jobspec.KindNotFound, jobspec.KindSignature:
		return false
	}
	return true
}

// patience is how long an instant may wait until its job is taken: to the next
// one, but not under a minute and not over an hour. A head waits.
func (e *Engine) patience(s jobspec.Schedule, i jobspec.Instant) time.Duration {
	const least, most = time.Minute, time.Hour
	if i.Kind != jobspec.InstantTime {
		return most
	}
	expr, err := compile(s.Cron, s.Zone, s.Created)
	if err != nil {
		return least
	}
	return min(max(expr.Next(i.At).Sub(i.At), least), most)
}

func (e *Engine) retryAt(i jobspec.Instant) (time.Duration, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	at, ok := e.retry[i.Key()]
	return at, ok
}

// setRetry notes when to submit again; 0 = never.
func (e *Engine) setRetry(i jobspec.Instant, at time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if at == 0 {
		delete(e.retry, i.Key())
		return
	}
	e.retry[i.Key()] = at
}

// giveUp notes that a due instant is never run.
func (e *Engine) giveUp(ctx context.Context, s jobspec.Schedule, i jobspec.Instant, why jobspec.Missed, detail string) (jobspec.Instant, error) {
	i.State, i.Missed, i.Detail = jobspec.InstantMissed, why, clip(detail)
	e.metrics.noted(i)
	e.log.Warn("instant missed", "schedule", s.Name, "at", i.At, "why", i.Missed, "detail", i.Detail)
	return i, e.put(ctx, i, "instant-missed")
}

// replace stops the jobs of earlier instants, and gives up those without one.
func (e *Engine) replace(ctx context.Context, s jobspec.Schedule, earlier []jobspec.Instant) error {
	for n, i := range earlier {
		var err error
		switch {
		case i.State == jobspec.InstantStarted, i.State == jobspec.InstantDue && e.made(ctx, s, i):
			err = e.cfg.Jobs.Stop(ctx, s.Tenant, i.JobID())
		case i.State == jobspec.InstantDue:
			earlier[n], err = e.giveUp(ctx, s, i, jobspec.MissedOverlap, "a later instant came before its job was made")
		}
		if err != nil && !errors.Is(err, jobspec.KindNotFound.Error()) && !errors.Is(err, jobspec.KindConflict.Error()) { // removed, or over
			return err
		}
	}
	return nil
}

// put writes an instant, durably.
func (e *Engine) put(ctx context.Context, i jobspec.Instant, place string) error {
	err := e.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		if _, ok, err := tx.Instant(i.Schedule, i.Kind, i.Slot); err != nil || !ok {
			return err // removed with its schedule meanwhile
		}
		return tx.PutInstant(i)
	})
	if err == nil {
		err = e.step(place + ".after-completion")
	}
	return err
}

// inputOf is the spec of an instant's job.
func inputOf(s jobspec.Schedule, i jobspec.Instant) jobspec.Spec {
	spec := s.Spec
	if i.Input.Defined() {
		setInput(&spec, i.Dataset, i.Input)
	}
	return spec
}

// clip bounds what is kept of a text.
func clip(s string) string { return s[:min(len(s), 500)] }
