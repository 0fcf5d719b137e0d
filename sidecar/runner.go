package sidecar

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ipdc/ipdc/internal/failpoint"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/inputcache"
	"github.com/ipdc/ipdc/sidecar/peering"
	"github.com/ipdc/ipdc/sidecar/proxy"
	"github.com/ipdc/ipdc/sidecar/volume"
	"github.com/ipdc/ipdc/store"
)

// runner takes one attempt of a task from its lease to its receipt. Each step is
// idempotent, and the attempt's row says which steps are done, so that a later
// process goes on with the same container.
type runner struct {
	*course
	this jobspec.AttemptID
	att  jobspec.Attempt // its row, once it has one
	err  error           // why it ended without a verdict, once the course is told

	unsure  bool // Start was sent, and not answered: the program may run
	resumed bool // of a gang: the attempt is of an earlier process

	holds   bool // resources are taken from the placer
	vol     volume.Volume
	code    inputcache.Entry // zero without code
	input   inputcache.Entry // zero without an input
	deps    inputcache.Entry // zero without requirements
	resumes inputcache.Entry // the checkpoint of its gang; zero without one
	release []func()         // of cache entries
	net     *proxy.Proxy     // nil without a network, and while it is not open
	port    *peering.Port    // likewise without a gang
	outcome outcome          // what the guest reported; from exited on
	watch   stopwatch        // of its phases

	unfollow func() // ends the keeping of what it moves; nil until that has begun
}

// resume goes on with an attempt of an earlier process.
func (r *runner) resume(ctx context.Context) error {
	if r.elsewhere() {
		return r.rejoin(ctx)
	}
	if _, ok := r.claim(r.att.ID); ok {
		r.holds = true
		r.setActive(1)
	}
	r.watch.start(r.now(), r.att.Phases)
	r.log.Info("resume", "attempt", r.att.ID, "state", r.att.State, "container", r.att.Container)
	return r.run(ctx)
}

// run steps the attempt until its receipt is recorded or it is abandoned.
// Failures of the program and refusals end in the attempt's Failure; an error
// means that the job was cancelled or the node stops.
func (r *runner) run(ctx context.Context) error {
	defer r.cleanup()
	var since time.Time // the first of the tries
	for tries, waits := 0, (await{}); !reported(r.att) && !r.att.State.Final(); {
		next, err := r.step(ctx)
		if r.shuttingDown() {
			r.suspendNetwork()
			return errShutdown
		}
		if err == nil && next == jobspec.AttemptRecorded && !r.first() {
			return r.abandon(errOutrun)
		}
		if err == nil {
			r.watch.lap(r.now(), reached(next))
			if err := r.save(next); err != nil {
				return err
			}
			tries, waits = 0, await{}
			continue
		}
		if ctx.Err() != nil && !hasRun(r.att.State) {
			return errors.Join(context.Cause(ctx), r.abandon(context.Cause(ctx)))
		}
		if ctx.Err() == nil && r.mayWait(err, hasRun(r.att.State)) {
			r.awaits(ctx, err, &waits)
			continue
		}
		var fe *jobspec.FailureError
		if errors.As(err, &fe) {
			return r.abandon(err)
		}
		if tries++; tries == 1 {
			since = time.Now()
		}
		r.log.Warn("attempt step", "attempt", r.att.ID, "after", r.att.State, "try", tries, "err", err)
		if err := r.enough(ctx, tries, since, err); err != nil {
			return r.abandon(err)
		}
		if hasRun(r.att.State) {
			pause(r.keep(), tries)
		} else {
			pause(ctx, tries)
		}
	}
	if ctx.Err() != nil && r.att.Failure != nil {
		return context.Cause(ctx)
	}
	return nil
}

// hasRun says whether a program may have produced something: then what it left
// is packed and reported, also when the job was cancelled.
func hasRun(s jobspec.AttemptState) bool {
	switch s {
	case jobspec.AttemptRunning, jobspec.AttemptExited, jobspec.AttemptPackaged:
		return true
	}
	return false
}

// step does the work that leads to the next state and returns that state.
func (r *runner) step(ctx context.Context) (jobspec.AttemptState, error) {
	keep := r.keep()
	switch r.att.State {
	case jobspec.AttemptLeased:
		return r.do(ctx, jobspec.AttemptStaged, r.stage)
	case jobspec.AttemptStaged:
		return r.do(ctx, jobspec.AttemptImage, r.mount)
	case jobspec.AttemptImage:
		return r.do(ctx, jobspec.AttemptCreated, r.create)
	case jobspec.AttemptCreated:
		return r.do(ctx, jobspec.AttemptRunning, r.begin)
	case jobspec.AttemptRunning:
		return r.do(ctx, jobspec.AttemptExited, r.wait)
	case jobspec.AttemptExited:
		return r.do(keep, jobspec.AttemptPackaged, r.pack)
	case jobspec.AttemptPackaged:
		return r.do(keep, jobspec.AttemptRecorded, r.sign)
	default:
		return r.att.State, fmt.Errorf("attempt %s is in unknown state %q", r.att.ID, r.att.State)
	}
}

func (r *runner) do(ctx context.Context, next jobspec.AttemptState, effect func(context.Context) error) (jobspec.AttemptState, error) {
	failpoint.Hit(string(next) + ".before-effect")
	if err := effect(ctx); err != nil {
		return next, err
	}
	failpoint.Hit(string(next) + ".after-effect")
	return next, nil
}

// passing says whether a state is not written on its own, which takes a
// transaction. The step after it says all of it in its own row. After a crash
// in between, input and image are found where they are; outputs are packed once
// more, which crashes are rare enough for.
func passing(s jobspec.AttemptState) bool {
	return s == jobspec.AttemptStaged || s == jobspec.AttemptImage || s == jobspec.AttemptPackaged
}

// save makes the attempt's new state durable.
func (r *runner) save(next jobspec.AttemptState) error {
	state, err := r.att.State.To(next)
	if err != nil {
		return err
	}
	row := r.att
	row.State, row.Phases = state, r.watch.spent
	if passing(state) {
		r.att = row
		failpoint.Hit(string(next) + ".after-completion")
		return nil
	}
	putCopies, noted := nothingToNote, func() {}
	if state == jobspec.AttemptRecorded && !r.elsewhere() {
		putCopies, noted = r.copyOutput(r.keep())
	}
	defer noted()
	err = r.persist(r.keep(), func(tx *store.Tx) error {
		if err := tx.PutAttempt(row); err != nil {
			return err
		}
		if state != jobspec.AttemptRecorded {
			return nil
		}
		if err := putCopies(tx); err != nil {
			return err
		}
		for key, m := range r.outcome.memories {
			if err := tx.Remember(key, m); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("save attempt %s as %s: %w", r.att.ID, next, err)
	}
	r.att = row
	failpoint.Hit(string(next) + ".after-completion")
	r.log.Debug("attempt", "attempt", r.att.ID, "state", state)
	if state == jobspec.AttemptRecorded || state == jobspec.AttemptAbandoned {
		r.metrics.attemptEnded(r.att)
	}
	return nil
}

// abandon gives an attempt up without a report. Its record says what it moved.
func (r *runner) abandon(cause error) error {
	r.closeNetwork()
	f := jobspec.AsFailure(cause)
	r.att.Failure = &f
	failpoint.Hit(string(jobspec.AttemptAbandoned) + ".before-effect")
	if err := r.discard(r.keep(), r.att); err != nil {
		r.metrics.stuck.Inc()
		r.log.Warn("clean abandoned attempt", "attempt", r.att.ID, "err", err)
	}
	failpoint.Hit(string(jobspec.AttemptAbandoned) + ".after-effect")
	return r.save(jobspec.AttemptAbandoned)
}
