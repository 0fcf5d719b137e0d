package sidecar

import (
	"context"
	"errors"
	"fmt"

	"github.com/ipdc/ipdc/internal/failpoint"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// settle makes the end of a job known to the keepers, before it is written here:
// it waits until a majority has it. When they refuse it the job is another
// node's, and nothing of it is published here; or it has an end of this node's
// own, which the error then is: an [ownEnd].
func (d *driver) settle(ctx context.Context, state jobspec.JobState, result jobspec.CID, detail string) error {
	if !d.recorded() {
		return nil
	}
	for tries := 1; ; tries++ {
		job, err := d.load(d.keep())
		if err != nil {
			return err
		}
		k := d.cfg.Record.Keepers()
		if job.Parent != "" || job.Origin != nil || !k.Active() {
			return nil
		}
		switch err = d.tellEnd(ctx, &job, state, result, detail); {
		case errors.Is(err, jobspec.KindNotFound.Error()):
			err = d.enter(ctx, &job, "")
		case isLeaseLost(err):
			if why, ferr := d.whoEnded(ctx, job, err); ferr == nil {
				return why
			}
		case err == nil:
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			d.log.Warn("the keepers do not hear of a job's end", "job", d.id, "state", state, "try", tries, "err", err)
			d.setWaiting("waits for the keepers of the domain's jobs: " + jobspec.AsFailure(err).Detail)
			pause(ctx, tries)
		}
	}
}

// tellEnd tells the keepers once how a job ends.
func (d *driver) tellEnd(ctx context.Context, job *jobspec.Job, state jobspec.JobState, result jobspec.CID, detail string) error {
	if t := job.Tenure; t == nil || t.Record != d.cfg.Record.Keepers().Record {
		if in, err := d.enterAtLast(ctx, job); err != nil || !in {
			return err
		}
	}
	failpoint.Hit("settled.before-effect")
	err := d.endRecorded(ctx, *job, state, result, detail)
	failpoint.Hit("settled.after-effect")
	return err
}

// enterAtLast enters a job that ends and that this node does not know to be in the
// record: it is of before there were keepers, or this node was killed when it
// entered it, and the job may be another's by now. It reports
// false for one that nobody has and that the keepers cannot take.
func (d *driver) enterAtLast(ctx context.Context, job *jobspec.Job) (in bool, err error) {
	err = d.enter(ctx, job, "")
	if err == nil || isLeaseLost(err) || errors.Is(err, jobspec.KindNoQuorum.Error()) || errors.Is(err, errUncertain) || ctx.Err() != nil {
		return true, err
	}
	once, cancel := context.WithTimeout(ctx, findFor)
	defer cancel()
	e, ferr := d.cfg.Record.Find(once, job.ID)
	switch {
	case errors.Is(ferr, jobspec.KindNotFound.Error()):
		d.log.Info("job ends outside of the record", "job", d.id, "err", err)
		return false, nil
	case ferr != nil:
		return true, ferr
	case e.Owner != d.Sidecar.id:
		return true, superseded(e).Error()
	}
	return true, d.setTenure(ctx, job.ID, jobspec.Tenure{Record: d.cfg.Record.Keepers().Record, Epoch: e.Epoch}, job)
}

// ownEnd is an end that the keepers have of this node, which then did not write
// it: it was killed or stopped before, or did not hear that they have it. It is
// the job's only one, whatever the job has come to since.
type ownEnd struct{ wire.Recorded }

func (e ownEnd) Error() string {
	return fmt.Sprintf("job %s is %s, as this node has told the keepers before", e.Job, e.State)
}

// succeeded reports whether there is a result.
func (e ownEnd) succeeded() bool {
	return e.State != jobspec.JobFailed && e.State != jobspec.JobStopped
}

// failure is why there is none.
func (e ownEnd) failure() jobspec.Failure {
	if e.State == jobspec.JobStopped {
		return jobspec.AsFailure(errStopped)
	}
	return jobspec.Failure{Kind: jobspec.KindLost, Where: "job", Detail: e.Detail, Hint: "it had ended so before this node was stopped"}
}

// whoEnded tells a job that this node has ended itself from one that it has lost.
func (s *Sidecar) whoEnded(ctx context.Context, job jobspec.Job, lost error) (why, err error) {
	ctx, cancel := context.WithTimeout(ctx, findFor)
	defer cancel()
	e, err := s.cfg.Record.Find(ctx, job.ID)
	switch {
	case err != nil && !errors.Is(err, jobspec.KindNotFound.Error()):
		return nil, err
	case err == nil && e.Over() && e.Owner == s.id && job.Tenure != nil && e.Epoch == job.Tenure.Epoch:
		return ownEnd{e}, nil
	}
	return lost, nil
}

func (s *Sidecar) endRecorded(ctx context.Context, job jobspec.Job, state jobspec.JobState, result jobspec.CID, detail string) error {
	ctx, cancel := context.WithTimeout(ctx, s.enterFor())
	defer cancel()
	return s.cfg.Record.End(ctx, wire.Ending{
		Claim: wire.Claim{Job: job.ID, Epoch: job.Tenure.Epoch}, State: state, Result: result, Detail: detail[:min(len(detail), 1024)],
	})
}
