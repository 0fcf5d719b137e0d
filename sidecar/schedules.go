package sidecar

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/sidecar/schedule"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

var (
	_ api.Schedules   = (*Sidecar)(nil)
	_ schedule.Jobs   = scheduled{}
	_ schedule.Holder = scheduled{}
)

// scheduled is what the schedules of a node need of it.
type scheduled struct{ *Sidecar }

// newSchedules makes the node's engine of schedules.
func (s *Sidecar) newSchedules() (*schedule.Engine, error) {
	cfg := schedule.Config{
		Store: s.cfg.Store, Jobs: scheduled{s}, Holder: scheduled{s}, Now: s.cfg.Now,
		Interval: s.cfg.Limits.Interval.Std(), PerTenant: s.cfg.Limits.Schedules, Logger: s.log, Registry: s.cfg.Registry,
	}
	if s.cfg.Datasets != nil {
		cfg.Heads = &heads{datasets: s.cfg.Datasets, names: s.cfg.Names, now: s.now}
	}
	e, err := schedule.New(cfg)
	if err == nil && s.cfg.Datasets != nil {
		s.cfg.Datasets.OnMove(e.Moved)
	}
	return e, err
}

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

// schedulePin begins the names of pins of what a schedule's jobs need.
func schedulePin(id jobspec.ScheduleID) string { return schedulePins + id.String() + "/" }

// needPin is the name of the pin of one of them.
func needPin(id jobspec.ScheduleID, n int) string { return fmt.Sprintf("%s%d", schedulePin(id), n) }

const schedulePins = "schedule/"

// Hold implements [schedule.Holder]: code and requirements stay, whatever
// becomes of single jobs. Inputs are their owner's care.
func (s scheduled) Hold(ctx context.Context, sch jobspec.Schedule) (t *jobspec.Tenure, err error) {
	if err := s.pinNeeds(ctx, sch); err != nil {
		return nil, errors.Join(err, s.unpinSchedule(ctx, sch.ID))
	}
	if s.recorded() {
		if t, err = s.enterSchedule(ctx, sch); err != nil {
			err = errors.Join(err, s.unpinSchedule(ctx, sch.ID))
		}
	}
	return t, err
}

// needsOf are the code and the requirements of a spec.
func needsOf(spec jobspec.Spec) (list []jobspec.CID) {
	for _, st := range stagesOf(jobspec.Job{Spec: spec}) {
		for _, c := range []jobspec.CID{st.Spec.Run.Code, st.Spec.Run.Requirements} {
			if c.Defined() {
				list = append(list, c)
			}
		}
	}
	return list
}

func (s scheduled) unpinSchedule(ctx context.Context, id jobspec.ScheduleID) error {
	pins, err := s.cfg.IPFS.Pins(ctx, schedulePin(id))
	for _, p := range pins {
		err = errors.Join(err, s.cfg.IPFS.Unpin(ctx, p.Name))
	}
	return err
}

// Release implements [schedule.Holder].
func (s scheduled) Release(ctx context.Context, sch jobspec.Schedule) error {
	if err := s.endSchedule(ctx, sch); err != nil {
		return err
	}
	return s.unpinSchedule(ctx, sch.ID)
}

// sweepSchedules lets go of what schedules needed that are no more, and pins
// what a kill kept from being pinned.
func (s *Sidecar) sweepSchedules(ctx context.Context) error {
	pins, err := s.cfg.IPFS.Pins(ctx, schedulePins)
	if err != nil {
		return err
	}
	list, err := s.schedules.Schedules(ctx, "")
	if err != nil {
		return err
	}
	pinned, known := map[string]bool{}, map[string]bool{}
	for _, p := range pins {
		pinned[p.Name] = true
	}
	for _, sch := range list {
		known[sch.ID.String()] = true
		err = errors.Join(err, s.pinMissing(ctx, sch, pinned))
	}
	for _, p := range pins {
		id, _, _ := strings.Cut(strings.TrimPrefix(p.Name, schedulePins), "/")
		if !known[id] && s.now().Sub(p.Created) > custodyYoung {
			err = errors.Join(err, s.cfg.IPFS.Unpin(ctx, p.Name))
		}
	}
	return err
}

// pinMissing pins what an own schedule needs and is here without a pin.
func (s *Sidecar) pinMissing(ctx context.Context, sch jobspec.Schedule, pinned map[string]bool) (err error) {
	for i, c := range needsOf(sch.Spec) {
		if sch.Away != "" || pinned[needPin(sch.ID, i)] {
			continue
		}
		has, herr := s.cfg.IPFS.Has(ctx, c)
		if herr == nil && has {
			herr = s.cfg.IPFS.Pin(ctx, needPin(sch.ID, i), c)
		}
		err = errors.Join(err, herr)
	}
	return err
}

// AddSchedule implements [api.Schedules].
func (s *Sidecar) AddSchedule(ctx context.Context, tenant string, r wire.ScheduleRequest) (w wire.Schedule, created bool, err error) {
	sch := jobspec.Schedule{Tenant: tenant, Name: r.Name, Cron: r.Cron, Zone: r.Zone, OnChange: r.OnChange, Paused: r.Paused}
	var problems [2]error
	sch.Overlap, problems[0] = jobspec.ParseOverlap(r.Overlap)
	sch.CatchUp, problems[1] = jobspec.ParseCatchUp(r.CatchUp)
	if err := errors.Join(problems[:]...); err != nil {
		return w, false, err
	}
	if r.OnChange != "" && r.CatchUp != "" {
		return w, false, jobspec.Failure{
			Kind: jobspec.KindSpec, Where: "catch_up", Detail: "of a head each version is run, however late", Hint: "leave it out",
		}.Error()
	}
	if err := s.idle(); err != nil {
		return w, false, err
	}
	if err := s.cfg.Admit(ctx); err != nil {
		return w, false, err
	}
	sch.Spec = r.Spec
	if sch.SpecCID, err = r.Spec.WithDefaults().CID(); err != nil {
		return w, false, err
	}
	sch, created, err = s.schedules.Add(ctx, sch, func(spec jobspec.Spec) error { return s.takes(ctx, tenant, spec) })
	if err == nil && !created && sch.Away == "" { // the first add may have been cut short
		err = s.pinNeeds(ctx, sch)
	}
	return s.shown(ctx, sch), created, err
}

// takes says why this node would not take a job of the schedule now, if that is
// so for good.
func (s *Sidecar) takes(_ context.Context, tenant string, spec jobspec.Spec) error {
	spec, _, err := s.admit(spec, s.runsSomewhere)
	if err == nil {
		err = s.enough(spec)
	}
	if err == nil {
		err = s.permits(tenant, spec)
	}
	return err
}

// shown adds to a schedule what is not in its record.
func (s *Sidecar) shown(ctx context.Context, sch jobspec.Schedule) wire.Schedule {
	w := wire.Schedule{Schedule: sch}
	if next := s.schedules.Next(sch, 1); len(next) > 0 {
		w.Next = &next[0]
	}
	_ = s.cfg.Store.View(ctx, func(tx *store.Tx) error { // what cannot be read is not shown
		list, err := tx.History(sch.ID, 1, 0)
		if len(list) > 0 {
			w.Last = &list[0]
		}
		return err
	})
	return w
}

// Schedules implements [api.Schedules].
func (s *Sidecar) Schedules(ctx context.Context, tenant string) (list []wire.Schedule, err error) {
	all, err := s.schedules.Schedules(ctx, tenant)
	for _, sch := range all {
		list = append(list, s.shown(ctx, sch))
	}
	return list, err
}

// Schedule implements [api.Schedules].
func (s *Sidecar) Schedule(ctx context.Context, tenant, ref string) (wire.Schedule, error) {
	sch, err := s.schedules.Schedule(ctx, tenant, ref)
	if err != nil {
		return wire.Schedule{}, err
	}
	return s.shown(ctx, sch), nil
}

// PauseSchedule implements [api.Schedules].
func (s *Sidecar) PauseSchedule(ctx context.Context, tenant, ref string, paused bool) (wire.Schedule, error) {
	sch, err := s.schedules.Pause(ctx, tenant, ref, paused)
	if err != nil {
		return wire.Schedule{}, err
	}
	return s.shown(ctx, sch), nil
}

// RunSchedule implements [api.Schedules].
func (s *Sidecar) RunSchedule(ctx context.Context, tenant, ref string) (jobspec.Instant, error) {
	if err := s.idle(); err != nil {
		return jobspec.Instant{}, err
	}
	return s.schedules.RunNow(ctx, tenant, ref)
}

// RemoveSchedule implements [api.Schedules].
func (s *Sidecar) RemoveSchedule(ctx context.Context, tenant, ref string) error {
	_, err := s.schedules.Remove(ctx, tenant, ref)
	return err
}

// NextInstants implements [api.Schedules].
func (s *Sidecar) NextInstants(ctx context.Context, tenant, ref string, n int) (wire.NextInstants, error) {
	sch, err := s.schedules.Schedule(ctx, tenant, ref)
	if err != nil {
		return wire.NextInstants{}, err
	}
	zone, err := time.LoadLocation(sch.Zone)
	if err != nil {
		return wire.NextInstants{}, err
	}
	out := wire.NextInstants{Zone: zone.String(), Next: []time.Time{}}
	for _, at := range s.schedules.Next(sch, n) {
		out.Next = append(out.Next, at.In(zone))
	}
	return out, nil
}

// History implements [api.Schedules].
func (s *Sidecar) History(ctx context.Context, tenant, ref string, limit, skip int) ([]jobspec.Instant, error) {
	return s.schedules.History(ctx, tenant, ref, limit, skip)
}
