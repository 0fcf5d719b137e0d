package sidecar

import (
	"context"
	"errors"
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
		sch, err = s.completeSchedule(ctx, sch)
	}
	return s.shown(ctx, sch), created, err
}

// takes says why this node would not take a job of the schedule now, if that is
// so for good.
func (s *Sidecar) takes(ctx context.Context, tenant string, spec jobspec.Spec) error {
	spec, _, err := s.admit(spec, s.runsSomewhere(ctx))
	if err == nil {
		err = s.enough(ctx, spec)
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
