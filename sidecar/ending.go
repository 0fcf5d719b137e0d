package sidecar

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
)

// failAtLast tries to end the job until its record can be written, as a full
// disk can be mended, or the node stops.
func (d *driver) failAtLast(job jobspec.Job, cause error) (jobspec.Job, error) {
	for tries := 1; ; tries++ {
		next, err := d.fail(job, cause)
		if err == nil || d.shuttingDown() {
			return next, err
		}
		d.log.Error("end job", "job", d.id, "state", job.State, "try", tries, "err", err)
		pause(d.keep(), tries)
	}
}

// fail ends the job with the failure that err carries; what its tasks wrote is
// kept as the partial output.
func (d *driver) fail(job jobspec.Job, err error) (jobspec.Job, error) {
	ctx := d.keep()
	f := jobspec.AsFailure(err)
	var ended ownEnd
	if errors.As(err, &ended) && !ended.succeeded() {
		f = ended.failure()
	}
	if err := d.abandonAttempts(ctx, f); err != nil {
		d.log.Warn("abandon attempts", "job", d.id, "err", err)
	}
	f = d.orStopped(ctx, job, f)
	if err := d.stopInstallation(ctx, job); err != nil {
		d.log.Warn("stop installation", "job", d.id, "err", err)
	}
	state := jobspec.JobFailed
	if f.Kind == jobspec.KindStopped {
		state = jobspec.JobStopped
	}
	if f.Kind != jobspec.KindLeaseLost {
		switch serr := d.settle(ctx, state, jobspec.CID{}, f.Detail); {
		case errors.As(serr, &ended) && ended.succeeded():
			next, rerr := d.succeedAs(ctx, job, ended.Result)
			if rerr == nil || d.mayWait(rerr, true) || d.shuttingDown() {
				return next, rerr
			}
			f, state = jobspec.AsFailure(rerr), jobspec.JobFailed
		case errors.As(serr, &ended):
			f, state = ended.failure(), ended.State
		case isLeaseLost(serr):
			f, state = jobspec.AsFailure(serr), jobspec.JobFailed
		case serr != nil:
			return job, serr
		}
	}
	partial, perr := d.partial(ctx, job)
	if perr != nil {
		d.log.Warn("keep partial outputs", "job", d.id, "err", perr)
	}
	was := job
	job, err = d.to(ctx, func(_ *store.Tx, j *jobspec.Job) error {
		if state != jobspec.JobStopped && stopCounts(was, *j, f) && !d.recorded() { // keepers have been told already
			return errStopped
		}
		j.Failure, j.Partial, j.Result = &f, partial, jobspec.CID{}
		return nil
	}, state)
	if state != jobspec.JobStopped && errors.Is(err, errStopped) {
		return d.fail(was, errStopped)
	}
	if err == nil {
		d.unpinInputs(job)
	}
	return job, err
}

// succeedAs ends the job with the result that the keepers have of it.
func (d *driver) succeedAs(ctx context.Context, job jobspec.Job, result jobspec.CID) (jobspec.Job, error) {
	if err := d.cfg.IPFS.Pin(ctx, pinName(d.id, "result"), result); err != nil {
		return job, at("result", err)
	}
	way := []jobspec.JobState{jobspec.JobQueued, jobspec.JobPublishing, jobspec.JobPublished, jobspec.JobSucceeded}
	done := slices.Index(way, job.State) + 1
	if job.State == jobspec.JobRunning {
		done = 1
	}
	return d.succeed(ctx, job, result, nil, way[done:]...)
}

// orStopped is why the job ends: what it was stopped for meanwhile, which its
// user has been told, or f.
func (d *driver) orStopped(ctx context.Context, job jobspec.Job, f jobspec.Failure) jobspec.Failure {
	if now, err := d.load(ctx); err == nil && stopCounts(job, now, f) {
		return jobspec.AsFailure(errStopped)
	}
	return f
}

// stopCounts says whether the wish to stop a job, as it stands in its row, is why
// it ends. What is published is not stopped, and what is another node's now is
// not ended here.
func stopCounts(job, row jobspec.Job, f jobspec.Failure) bool {
	return row.Stopping && job.State != jobspec.JobPublished && f.Kind != jobspec.KindLeaseLost
}

// abandonAttempts gives up what is left of a job that ends without its tasks
// having come to their own end.
func (d *driver) abandonAttempts(ctx context.Context, f jobspec.Failure) error {
	_, attempts, err := d.planned(ctx)
	if errors.Is(err, jobspec.KindNotFound.Error()) {
		return nil // it failed before it was planned
	}
	for _, list := range attempts {
		for _, a := range list {
			if reported(a) || a.State.Final() {
				continue
			}
			if derr := d.discard(ctx, a); derr != nil {
				err = errors.Join(err, derr)
				continue
			}
			if res, ok := d.claim(a.ID); ok {
				d.placer.release(res)
			}
			a.State, a.Failure = jobspec.AttemptAbandoned, &f
			err = errors.Join(err, d.persist(ctx, func(tx *store.Tx) error { return tx.PutAttempt(a) }))
		}
	}
	return err
}

// unpinInputs removes the pins that a final job no longer needs: those of its
// inputs, and those of single attempts once the job's own result or partial
// output, and what is remembered of it, is pinned. What others asked for since,
// as merged results, stays. What a crash leaves here, the sweeper removes.
func (d *driver) unpinInputs(job jobspec.Job) {
	if err := d.dropInputs(job); err != nil {
		d.log.Warn("unpin inputs", "job", d.id, "err", err)
	}
}

// dropInputs does the work of unpinInputs.
func (d *driver) dropInputs(job jobspec.Job) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(d.keep()), 10*time.Second)
	defer cancel()
	pins, err := d.cfg.IPFS.Pins(ctx, pinName(d.id, ""))
	records, rerr := d.keptRecords(ctx, job)
	if err = errors.Join(err, rerr); err != nil {
		return fmt.Errorf("look up pins: %w", err)
	}
	held := d.heldOutputs(ctx, job, pins)
	for _, p := range pins {
		what := strings.TrimPrefix(p.Name, pinName(d.id, ""))
		switch {
		case ofItems(what) && (path.Base(what) == recalledPin || records[p.Name]):
		case !ofItems(what) && (what == "partial" || keptOutputs(what) || strings.HasPrefix(what, mergedPins) || what == "result" && job.Result.Defined() || strings.HasPrefix(what, "attempt/") && !held(what)):
		default:
			err = errors.Join(err, d.cfg.IPFS.Unpin(ctx, p.Name))
		}
	}
	return err
}

// heldOutputs says of which attempts' pins the outputs are held by others: the
// result or the partial output of the job, or what its stage gave.
func (d *driver) heldOutputs(ctx context.Context, job jobspec.Job, pins []ipfs.Pin) func(what string) bool {
	if job.Result.Defined() || job.Partial.Defined() || len(job.Spec.Stages) == 0 {
		whole := job.Result.Defined() || job.Partial.Defined()
		return func(string) bool { return whole }
	}
	plan, _, err := d.planned(ctx)
	return func(what string) bool {
		var task, try int
		if _, perr := fmt.Sscanf(what, "attempt/%d-%d", &task, &try); err != nil || perr != nil {
			return false
		}
		outputs := stageOf(job, plan.StageOf(task)).pin("outputs")
		return slices.ContainsFunc(pins, func(p ipfs.Pin) bool { return p.Name == outputs })
	}
}
