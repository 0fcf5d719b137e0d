package sidecar

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ipdc/ipdc/internal/failpoint"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

// Record is the domain's record of jobs, which some of its members, the
// keepers, hold together: who owns which job, since which epoch. Package quorum
// has one. Each method but Keepers asks the keepers until ctx ends, which gives
// an error of kind E_NO_QUORUM.
type Record interface {
	// Keepers says who they are. While they are not Active nothing is recorded.
	Keepers() wire.Keepers
	// Enter puts a job of this node on the disks of a majority. It may be
	// called again, also after an error, which leaves open what was done.
	Enter(ctx context.Context, e wire.Recorded) error
	// End ends a job, or is refused with E_LEASE_LOST when another node owns
	// it now. E_NOT_FOUND: the record does not know it.
	End(ctx context.Context, x wire.Ending) error
	// Amend says whether a schedule is paused, or what it counts, and that this
	// node runs it; refused as End is.
	Amend(ctx context.Context, a wire.Amendment) error
	// Renew is a sign of life with all that this node owns, and asks what was
	// lost and granted.
	Renew(ctx context.Context, claims []wire.Claim) (wire.Renewed, error)
	// Pass gives a job to another member, or is refused with E_CONFLICT when
	// there is none.
	Pass(ctx context.Context, c wire.Claim) error
	// Find returns what is known of a job, or E_NOT_FOUND.
	Find(ctx context.Context, id jobspec.JobID) (wire.Recorded, error)
	// Over reports whether a job is over, or E_NOT_FOUND. A keeper answers it
	// by itself.
	Over(ctx context.Context, id jobspec.JobID) (bool, error)
}

// enterFor bounds how long a submit waits for the keepers: they may have to
// choose a leader first.
func (s *Sidecar) enterFor() time.Duration { return min(20*time.Second, 4*s.cfg.Lease) }

// recorded reports whether the keepers are to know of jobs.
func (s *Sidecar) recorded() bool { return s.cfg.Record != nil && s.cfg.Record.Keepers().Active() }

// entered puts a new job into the record, or takes it back: it was not
// acknowledged then.
func (s *Sidecar) entered(ctx context.Context, job *jobspec.Job, key string) error {
	if !s.recorded() {
		return nil
	}
	err := s.enter(ctx, job, key)
	if err == nil {
		return nil
	}
	if job.Fired != nil && errors.Is(err, errUncertain) {
		return err // its instant is submitted again under the same id
	}
	s.takeBack(ctx, job.ID)
	return fmt.Errorf("the job was not taken: %w", err)
}

// takeBack removes a job that was not begun.
func (s *Sidecar) takeBack(ctx context.Context, id jobspec.JobID) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := s.cfg.Store.Update(ctx, func(tx *store.Tx) error { return tx.DeleteJob(id) }); err != nil {
		s.log.Warn("take back a job that the keepers do not have", "job", id, "err", err)
	}
}

// errUncertain marks that the keepers may have a job or not.
var errUncertain = errors.New("whether the keepers have the job is not known")

// enter has a majority of the keepers hold what the job needs, then puts it into
// the record, and notes that here.
func (s *Sidecar) enter(ctx context.Context, job *jobspec.Job, key string) error {
	ctx, cancel := context.WithTimeout(ctx, s.enterFor())
	defer cancel()
	spec, err := s.publishJSON(ctx, pinName(job.ID, "spec"), job.Spec)
	if err != nil {
		return fmt.Errorf("store spec: %w", err)
	}
	k := s.cfg.Record.Keepers()
	t := jobspec.Tenure{Record: k.Record, Epoch: 1}
	if old := job.Tenure; old != nil && old.Record == k.Record {
		t = *old // most keepers were lost, and with them what they knew of it
	}
	failpoint.Hit("entered.before-effect")
	if err := s.entrust(ctx, k, *job, spec); err != nil {
		return err
	}
	e := wire.Recorded{
		Job: job.ID, Tenant: job.Tenant, Key: key, SpecCID: job.SpecCID, Spec: spec,
		Submitted: job.Submitted.UnixMilli(), Owner: s.id, Epoch: t.Epoch,
	}
	if key != "" { // with its submit; later the schedule may be another's
		e.Fired = job.Fired
	}
	if err = s.cfg.Record.Enter(ctx, e); err == nil {
		failpoint.Hit("entered.after-effect")
		err = s.setTenure(ctx, job.ID, t, job)
		failpoint.Hit("entered.after-completion")
	} else if f := jobspec.AsFailure(err); ctx.Err() == nil && f.Kind != jobspec.KindNoQuorum {
		return err
	}
	if err != nil {
		err = errors.Join(err, errUncertain)
	}
	return err
}

// setTenure notes by what this node owns a job.
func (s *Sidecar) setTenure(ctx context.Context, id jobspec.JobID, t jobspec.Tenure, job *jobspec.Job) error {
	return s.cfg.Store.Update(ctx, func(tx *store.Tx) (err error) {
		if *job, err = tx.Job(id); err != nil {
			return err
		}
		job.Tenure = &t
		return tx.PutJob(*job)
	})
}

// disowned says whether the owner of a task that does not answer owns the job
// no more. While the keepers do not answer either, the task goes on.
func (s *Sidecar) disowned(ctx context.Context, o jobspec.Origin) bool {
	id, err := jobspec.ParseAttemptID(o.Attempt)
	if err != nil || !s.recorded() {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, findFor)
	defer cancel()
	e, err := s.cfg.Record.Find(ctx, id.Job)
	return err == nil && (e.Over() || e.Owner.String() != o.Owner)
}

// orAtOwner turns err, that a job is not here, into one that says who owns it, or
// that this cannot be known now.
func (s *Sidecar) orAtOwner(ctx context.Context, tenant, ref string, err error) error {
	if !errors.Is(err, jobspec.KindNotFound.Error()) {
		return err
	}
	switch j, ok, rerr := s.inRecord(ctx, tenant, ref); {
	case ok:
		return atOwner(j)
	case rerr != nil:
		return rerr
	}
	return err
}

func atOwner(j wire.Job) error {
	return jobspec.Failure{
		Kind: jobspec.KindNotFound, Where: "job " + j.ID.String(), Detail: j.Recorded.Owner.String() + " owns it, not this node",
		Hint: "ask there; `ipdc job describe " + j.ID.String() + "` shows its state and result here",
	}.Error()
}

// findFor bounds a question about a job.
const findFor = 5 * time.Second

// inRecord is what the keepers know of a job that this node does not own. The
// error is of kind E_NO_QUORUM when they do not say, as while they choose a leader.
func (s *Sidecar) inRecord(ctx context.Context, tenant, ref string) (j wire.Job, ok bool, err error) {
	id, err := jobspec.ParseJobID(ref)
	if err != nil || !s.recorded() {
		return j, false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, findFor)
	defer cancel()
	e, err := s.cfg.Record.Find(ctx, id)
	switch {
	case errors.Is(err, jobspec.KindNoQuorum.Error()):
		return j, false, jobspec.Failure{
			Kind: jobspec.KindNoQuorum, Where: "job " + ref, Detail: "is not at this node, and who owns it is not known now: " + jobspec.AsFailure(err).Detail,
			Hint: "ask again in a moment, or at its owner",
		}.Error()
	case err != nil || e.Tenant != tenant:
		return j, false, nil
	}
	j = wire.Job{Recorded: &e, Member: e.Owner.String()}
	j.ID, j.Tenant, j.SpecCID, j.Submitted, j.Result = e.Job, e.Tenant, e.SpecCID, e.At(), e.Result
	if j.State = e.State; !e.Over() {
		j.State = jobspec.JobAccepted
		j.Waiting = "is worked on by " + e.Owner.String()
	}
	if e.Detail != "" {
		j.Failure = &jobspec.Failure{Kind: jobspec.KindLost, Detail: e.Detail, Hint: "more of it is known to " + e.Owner.String()}
	}
	return j, true, nil
}
