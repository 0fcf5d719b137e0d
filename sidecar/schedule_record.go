package sidecar

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/schedule"
	"github.com/ipdc/ipdc/wire"
)

// enterSchedule puts a schedule into the keepers' record, as a job is: first a
// majority of them holds what only this node may have of it.
func (s *Sidecar) enterSchedule(ctx context.Context, sch jobspec.Schedule) (*jobspec.Tenure, error) {
	ctx, cancel := context.WithTimeout(ctx, s.enterFor())
	defer cancel()
	k := s.cfg.Record.Keepers()
	t := jobspec.Tenure{Record: k.Record, Epoch: 1}
	if old := sch.Tenure; old != nil && old.Record == k.Record {
		t = *old
	}
	sch.Tenure, sch.Away = nil, ""
	file, err := s.publishJSON(ctx, schedulePin(sch.ID)+"record", sch)
	if err != nil {
		return nil, fmt.Errorf("store schedule: %w", err)
	}
	if err := s.entrust(ctx, k, jobspec.Job{ID: sch.ID.Recorded(), Spec: sch.Spec}, file); err != nil {
		return nil, err
	}
	return &t, s.cfg.Record.Enter(ctx, wire.Recorded{
		Schedule: true, Job: sch.ID.Recorded(), Tenant: sch.Tenant, SpecCID: sch.SpecCID, Spec: file, Submitted: sch.Created.UnixMilli(),
		Owner: s.id, Epoch: t.Epoch, Paused: sch.Paused, Cursor: max(sch.Cursor, 0),
	})
}

// claimOf is by what this node owns a schedule, as far as the keepers know of it.
func (s *Sidecar) claimOf(sch jobspec.Schedule) (wire.Claim, bool) {
	t := sch.Tenure
	if t == nil || sch.Away != "" || s.cfg.Record == nil || t.Record != s.cfg.Record.Keepers().Record {
		return wire.Claim{}, false
	}
	return wire.Claim{Job: sch.ID.Recorded(), Epoch: t.Epoch}, true
}

// endSchedule takes a schedule that is removed out of the record.
func (s *Sidecar) endSchedule(ctx context.Context, sch jobspec.Schedule) error {
	claim, ok := s.claimOf(sch)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.enterFor())
	defer cancel()
	err := s.cfg.Record.End(ctx, wire.Ending{Claim: claim, State: jobspec.JobStopped, Detail: "was removed"})
	if errors.Is(err, jobspec.KindNotFound.Error()) {
		return nil
	}
	if isLeaseLost(err) { // it goes on elsewhere, unless it was removed there
		if e, ferr := s.cfg.Record.Find(ctx, claim.Job); ferr == nil && e.Over() {
			return nil
		}
	}
	return err
}

// Amend implements [schedule.Holder].
func (s scheduled) Amend(ctx context.Context, sch jobspec.Schedule) error {
	claim, ok := s.claimOf(sch)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.enterFor())
	defer cancel()
	return s.cfg.Record.Amend(ctx, wire.Amendment{Claim: claim, Paused: sch.Paused})
}

// Count implements [schedule.Holder].
func (s scheduled) Count(ctx context.Context, sch jobspec.Schedule, c jobspec.Counts) error {
	claim, ok := s.claimOf(sch)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.enterFor())
	defer cancel()
	return s.cfg.Record.Amend(ctx, wire.Amendment{Claim: claim, Counts: &c, Paused: sch.Paused})
}

// Ready implements [schedule.Holder]: what the keepers know of may be another
// member's since this node was stopped.
func (s scheduled) Ready(sch jobspec.Schedule) bool {
	claim, ok := s.claimOf(sch)
	if !ok {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return claim.Job == "" || s.sureOf == sch.Tenure.Record
}

// sureOfSchedules notes that the keepers have said which schedules are this node's.
func (s *Sidecar) sureOfSchedules(k wire.Keepers) {
	s.mu.Lock()
	sure := s.sureOf == k.Record
	s.sureOf = k.Record
	s.mu.Unlock()
	if !sure {
		s.schedules.Wake()
	}
}

// claimSchedules are those that this node owns by the record, and those that
// the record lacks. What the first ones run is added to needs.
func (s *Sidecar) claimSchedules(ctx context.Context, k wire.Keepers, needs map[jobspec.JobID]jobspec.Spec) (claims []wire.Claim, late []jobspec.Schedule, err error) {
	list, err := s.schedules.Schedules(ctx, "")
	for _, sch := range list {
		if claim, ok := s.claimOf(sch); ok {
			claims = append(claims, claim)
			needs[claim.Job] = sch.Spec
		} else if sch.Away == "" && k.Active() && !s.schedules.Entering(sch.ID) {
			late = append(late, sch)
		}
	}
	return claims, late, err
}

// enterLateSchedule puts a schedule into the record that was made when there
// were no keepers.
func (s *Sidecar) enterLateSchedule(ctx context.Context, sch jobspec.Schedule) {
	if _, err := s.completeSchedule(ctx, sch); err != nil && ctx.Err() == nil {
		s.log.Debug("schedule is not in the record yet", "schedule", sch.Name, "err", err)
	}
}

// completeSchedule does what is left of the add of a schedule that has its row:
// its needs are pinned, and the keepers, where there are any, know of it.
func (s *Sidecar) completeSchedule(ctx context.Context, sch jobspec.Schedule) (jobspec.Schedule, error) {
	if err := s.pinNeeds(ctx, sch); err != nil || !s.recorded() {
		return sch, err
	}
	if _, ok := s.claimOf(sch); ok {
		return sch, nil
	}
	t, err := s.enterSchedule(ctx, sch)
	if err != nil {
		return sch, err
	}
	sch.Tenure = t
	return sch, s.schedules.Own(ctx, sch.ID, schedule.Tenancy{Tenure: *t})
}

// lostSchedule notes that a schedule is another member's now, or was removed. It
// reports false for what is no schedule.
func (s *Sidecar) lostSchedule(ctx context.Context, e wire.Recorded) bool {
	id := jobspec.ScheduleID(e.Job)
	sch, err := s.schedules.Get(ctx, id)
	if err != nil {
		return false
	}
	switch {
	case e.Owner == "": // most keepers were lost, and with them what they knew of it; or it was over for long
		_, err = s.enterSchedule(ctx, sch)
	case e.Over(): // removed: here, where that was cut short, or at another member
		err = s.schedules.Forget(ctx, id)
	case e.Owner == s.id:
		err = s.schedules.Own(ctx, id, schedule.Tenancy{Tenure: jobspec.Tenure{Record: sch.Tenure.Record, Epoch: e.Epoch}})
	default:
		s.log.Info("schedule is another node's now", "schedule", sch.Name, "owner", e.Owner)
		err = s.loseSchedule(ctx, id, e.Owner)
	}
	if err != nil && ctx.Err() == nil {
		s.log.Warn("give up a schedule", "schedule", sch.Name, "err", err)
	}
	return true
}

// grantedSchedule takes on a schedule that the record says is this node's.
func (s *Sidecar) grantedSchedule(ctx context.Context, record string, e wire.Recorded) error {
	t := jobspec.Tenure{Record: record, Epoch: e.Epoch}
	id, err := jobspec.ParseScheduleID(e.Job.String())
	if err != nil {
		return err
	}
	sch, err := s.schedules.Get(ctx, id)
	switch {
	case s.schedules.Entering(id):
		return nil
	case errors.Is(err, jobspec.KindNotFound.Error()) && e.Epoch == 1: // it was refused to its user in the end
		return s.cfg.Record.End(ctx, wire.Ending{Claim: wire.Claim{Job: e.Job, Epoch: 1}, State: jobspec.JobStopped, Detail: notAcknowledged})
	case err != nil && !errors.Is(err, jobspec.KindNotFound.Error()):
		return err
	case err == nil && sch.Away == "" && sch.Tenure != nil && *sch.Tenure == t:
		return nil
	}
	if s.Draining() {
		return s.cfg.Record.Pass(ctx, wire.Claim{Job: e.Job, Epoch: e.Epoch})
	}
	if sch, err = s.readSchedule(ctx, e); err != nil {
		if jobspec.AsFailure(err).Kind != jobspec.KindSpec && jobspec.AsFailure(err).Kind != jobspec.KindPolicy {
			return err // it is asked for again with the next sign of life
		}
		s.log.Info("schedule cannot be run here", "schedule", e.Job, "err", err)
		return s.cfg.Record.Pass(ctx, wire.Claim{Job: e.Job, Epoch: e.Epoch})
	}
	own := schedule.Tenancy{Tenure: t, New: &sch, Cursor: e.Cursor, Paused: e.Paused, Taken: true}
	own.Running, err = s.firedLast(ctx, sch, e.Cursor)
	if err != nil {
		return err
	}
	if err := s.cfg.Record.Amend(ctx, wire.Amendment{Claim: wire.Claim{Job: e.Job, Epoch: e.Epoch}, Paused: e.Paused}); err != nil {
		return err
	}
	s.log.Info("schedule taken over", "schedule", sch.Name, "tenant", sch.Tenant, "epoch", e.Epoch, "from", e.Past)
	return s.schedules.Own(ctx, id, own)
}

// readSchedule reads what the keepers hold of a schedule, which another member
// made up, and pins what its jobs need.
func (s *Sidecar) readSchedule(ctx context.Context, e wire.Recorded) (sch jobspec.Schedule, err error) {
	if err := checkRecorded(e); err != nil {
		return sch, err
	}
	if err := s.readJSON(ctx, e.Spec, &sch); err != nil {
		return sch, fmt.Errorf("read schedule: %w", err)
	}
	if sch.ID.Recorded() != e.Job || sch.Tenant != e.Tenant || sch.Created.UnixMilli() != e.Submitted {
		return sch, jobspec.KindSpec.Errorf("the schedule that the keepers hold is %s of %.80q, not %s of %.80q", sch.ID, sch.Tenant, e.Job, e.Tenant)
	}
	if e.Counts != nil {
		sch.Counts = e.Counts
	}
	if err := s.schedules.Check(sch); err != nil {
		return sch, err
	}
	if err := s.schedules.CheckTimes(sch.Created, sch.OnChange != "", e.Cursor); err != nil {
		return sch, err
	}
	spec, _, err := s.admit(sch.Spec, s.runsSomewhere(ctx))
	if err == nil {
		err = s.permits(sch.Tenant, spec)
	}
	if err != nil {
		return sch, err
	}
	if err := s.cfg.Admit(ctx); err != nil {
		return sch, err
	}
	return sch, s.pinNeeds(ctx, sch)
}

// pinNeeds pins what the schedule's jobs need, and fetches first what is not
// here. It may be called again.
func (s *Sidecar) pinNeeds(ctx context.Context, sch jobspec.Schedule) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readFor, jobspec.KindFetchTimeout.Errorf("what the schedule's jobs need did not come within %s", readFor))
	defer cancel()
	for i, c := range needsOf(sch.Spec) {
		b := ipfs.Budget{Bytes: maxCustody, Entries: custodyFiles}
		err := tree.Walk(ctx, s.cfg.IPFS, c, b, func(tree.Entry) error { return nil })
		if err == nil {
			err = s.cfg.IPFS.Pin(ctx, needPin(sch.ID, i), c)
		}
		if err != nil {
			return fmt.Errorf("keep %s for the schedule: %w", c, causeOr(ctx, err))
		}
	}
	return nil
}

// firedLast is the newest instant that the owner before had a job for, if the
// keepers know of that.
func (s *Sidecar) firedLast(ctx context.Context, sch jobspec.Schedule, cursor int64) (*jobspec.Instant, error) {
	i := jobspec.Instant{Schedule: sch.ID, Kind: jobspec.InstantTime, Slot: cursor, At: time.Unix(cursor, 0).UTC(), State: jobspec.InstantStarted}
	if sch.OnChange != "" {
		i.Kind, i.At = jobspec.InstantChange, s.now()
	}
	i.Job = i.JobID()
	e, ok, err := scheduled{s}.recordedJob(ctx, i.Job)
	if err != nil || !ok || !firedBy(e.Fired, e.Tenant, i.Job, sch.Tenant) {
		return nil, err
	}
	i.Started, i.Noted = e.At(), s.now()
	return &i, nil
}

// passSchedules gives the schedules of this node to other members, as a node
// does that drains or leaves. Those that nobody can take stay.
func (s *Sidecar) passSchedules(ctx context.Context) (err error) {
	if !s.recorded() {
		return nil
	}
	list, err := s.schedules.Schedules(ctx, "")
	for _, sch := range list {
		claim, ok := s.claimOf(sch)
		if !ok {
			continue
		}
		once, cancel := context.WithTimeout(ctx, s.enterFor())
		perr := s.cfg.Record.Pass(once, claim)
		if perr == nil || isLeaseLost(perr) { // as it was passed before, and that was not heard
			e, ferr := s.cfg.Record.Find(once, claim.Job)
			switch {
			case ferr != nil:
				perr = errors.Join(perr, ferr)
			case e.Owner != s.id:
				perr = s.loseSchedule(ctx, sch.ID, e.Owner)
			}
		}
		cancel()
		if !errors.Is(perr, jobspec.KindConflict.Error()) {
			err = errors.Join(err, perr)
		}
	}
	return err
}
