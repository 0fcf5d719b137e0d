package sidecar

import (
	"context"
	"errors"
	"fmt"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/sidecar/schedule"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

// Submit implements [schedule.Jobs].
func (s scheduled) Submit(ctx context.Context, r schedule.Run) error {
	job, err := s.heldJob(ctx, r.Job)
	switch {
	case err == nil && !firedBy(job.Fired, job.Tenant, r.Job, r.Tenant):
		return idTaken(r, "another job of this node, of "+job.Tenant)
	case err == nil:
		return s.enterAgain(ctx, job, r.Key())
	case !errors.Is(err, jobspec.KindNotFound.Error()):
		return err
	}
	e, ok, err := s.recordedJob(ctx, r.Job)
	switch {
	case err != nil:
		return err
	case ok && !firedBy(e.Fired, e.Tenant, r.Job, r.Tenant):
		return idTaken(r, fmt.Sprintf("a job of %s that is not of this instant", e.Owner))
	case ok && e.Detail == notAcknowledged:
		return idTaken(r, "itself, but this node did not hear that, and never ran it")
	case ok && (e.Owner != s.id || e.Over()):
		return nil // another member has it, or it is over
	}
	_, _, err = s.Sidecar.Submit(ctx, api.Submission{
		Tenant: r.Tenant, IdempotencyKey: r.Key(), Spec: r.Spec,
		Fired: &jobspec.Fired{Schedule: r.Schedule, Kind: r.Kind, Slot: r.Slot, Epoch: r.Epoch},
	})
	return err
}

// firedBy reports whether a job is that of an instant, which the keepers let the
// schedule's owner alone enter: its id is no secret, and may be anybody's.
func firedBy(f *jobspec.Fired, tenant string, id jobspec.JobID, of string) bool {
	return f != nil && f.JobID() == id && tenant == of
}

func idTaken(r schedule.Run, by string) error {
	return jobspec.KindPolicy.Errorf("the id of the instant's job, %s, is taken by %s", r.Job, by)
}

// enterAgain finishes a submit of which it is not known whether the keepers have
// heard: until they have, the job is not begun.
func (s scheduled) enterAgain(ctx context.Context, job jobspec.Job, key string) error {
	s.mu.Lock()
	driven := s.drivers[job.ID] != nil
	s.mu.Unlock()
	if driven || job.State != jobspec.JobAccepted {
		return nil
	}
	if s.stopping() {
		return errShutdown
	}
	if job.Tenure == nil && s.recorded() {
		err := s.enter(ctx, &job, key)
		if isLeaseLost(err) && !errors.Is(err, errUncertain) {
			s.takeBack(ctx, job.ID)
		}
		if err != nil {
			return err
		}
	}
	s.start(job.ID)
	return nil
}

// heldJob is a job of this node's store.
func (s scheduled) heldJob(ctx context.Context, id jobspec.JobID) (job jobspec.Job, err error) {
	err = s.cfg.Store.View(ctx, func(tx *store.Tx) error {
		job, err = tx.Job(id)
		return err
	})
	return job, err
}

// recordedJob is what the keepers know of a job, where there are any.
func (s scheduled) recordedJob(ctx context.Context, id jobspec.JobID) (e wire.Recorded, ok bool, err error) {
	if !s.recorded() {
		return e, false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, findFor)
	defer cancel()
	e, err = s.cfg.Record.Find(ctx, id)
	if errors.Is(err, jobspec.KindNotFound.Error()) {
		return e, false, nil
	}
	return e, err == nil, err
}

// Ended implements [schedule.Jobs]. A job that is another member's now ends there.
func (s scheduled) Ended(ctx context.Context, tenant string, id jobspec.JobID) (schedule.End, bool, error) {
	job, err := s.heldJob(ctx, id)
	if err == nil && !firedBy(job.Fired, job.Tenant, id, tenant) {
		err = jobspec.KindNotFound.Errorf("job %s is not of the instant", id)
	}
	gone := errors.Is(err, jobspec.KindNotFound.Error())
	if err != nil && !gone {
		return schedule.End{}, false, err
	}
	if gone || job.Failure != nil && job.Failure.Kind == jobspec.KindLeaseLost {
		e, ok, rerr := s.recordedJob(ctx, id)
		ok = ok && e.Detail != notAcknowledged && (firedBy(e.Fired, e.Tenant, id, tenant) || !gone && job.Tenure != nil) // it was this node's, or is of the instant
		if rerr != nil || ok {
			return schedule.End{State: e.State, Result: e.Result, Detail: e.Detail, Finished: s.now()}, ok && e.Over(), rerr
		}
		if gone {
			return schedule.End{}, false, err
		}
	}
	end := schedule.End{State: job.State, Result: job.Result, Finished: job.Finished}
	if job.Failure != nil {
		end.Detail = job.Failure.Error().Error()
	}
	return end, job.State.Final(), nil
}

// Stop implements [schedule.Jobs].
func (s scheduled) Stop(ctx context.Context, tenant string, id jobspec.JobID) error {
	_, err := s.Sidecar.Stop(ctx, tenant, id.String())
	return err
}
