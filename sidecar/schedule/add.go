package schedule

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/ipdc/ipdc/internal/failpoint"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
)

// nameForm is what a schedule may be called.
var nameForm = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)

// maxAll bounds the schedules of a node.
const maxAll = 10_000

// Add takes a new schedule: Tenant, Name, Cron with Zone or OnChange, Overlap,
// CatchUp, Paused, Spec and SpecCID of s are read. takes says whether the spec
// could be submitted now. The same again gives the first one with created
// false, once it is held; another one of the same name is refused with E_CONFLICT.
func (e *Engine) Add(ctx context.Context, s jobspec.Schedule, takes func(jobspec.Spec) error) (_ jobspec.Schedule, created bool, err error) {
	now := e.now().Truncate(time.Second)
	s = jobspec.Schedule{
		ID: jobspec.NewScheduleID(now), Tenant: s.Tenant, Name: s.Name, Cron: s.Cron, Zone: s.Zone, OnChange: s.OnChange,
		Overlap: s.Overlap, CatchUp: s.CatchUp, Paused: s.Paused, Spec: s.Spec, SpecCID: s.SpecCID, Created: now, Cursor: now.Unix(),
	}
	err = e.check(ctx, &s, now)
	if err == nil {
		err = takes(s.Spec)
	}
	if err != nil {
		return s, false, err
	}
	unlock, err := e.adding.Lock(ctx, s.Tenant+"/"+s.Name) // a second one waits until the first is held, or taken back
	if err != nil {
		return s, false, err
	}
	defer unlock()
	e.mu.Lock()
	e.entering[s.ID] = true
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		delete(e.entering, s.ID)
		e.mu.Unlock()
		if created {
			e.look(s.ID)
		}
	}()
	failpoint.Hit("schedule.before-effect")
	first, err := e.insert(ctx, s)
	if err != nil || first.ID != s.ID {
		return first, false, err
	}
	t, err := e.cfg.Holder.Hold(ctx, s)
	failpoint.Hit("schedule.after-effect")
	if err == nil {
		s.Tenure = t
		err = e.cfg.Store.Update(ctx, func(tx *store.Tx) error { return tx.PutSchedule(s) })
	}
	if err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		derr := e.cfg.Store.Update(ctx, func(tx *store.Tx) error { return tx.DeleteSchedule(s.ID) })
		return s, false, errors.Join(fmt.Errorf("the schedule was not taken: %w", err), derr)
	}
	failpoint.Hit("schedule.after-completion")
	e.log.Info("schedule added", "schedule", s.Name, "tenant", s.Tenant, "cron", s.Cron, "zone", s.Zone, "head", s.OnChange)
	return s, true, nil
}

// check completes a schedule, or says what is wrong with it.
func (e *Engine) check(ctx context.Context, s *jobspec.Schedule, now time.Time) (err error) {
	if !nameForm.MatchString(s.Name) {
		return refuse("name", fmt.Sprintf("%.80q is no name of a schedule", s.Name), "give 1 to 63 letters, digits, '.', '_' and '-', which begin and end with a letter or digit")
	}
	if s.Overlap, err = jobspec.ParseOverlap(string(s.Overlap)); err != nil {
		return err
	}
	if s.CatchUp < 0 || s.CatchUp > jobspec.MaxCatchUp {
		return refuse("catch_up", fmt.Sprintf("%d is out of range", s.CatchUp), "give none, last or all:N")
	}
	switch {
	case (s.Cron == "") == (s.OnChange == ""):
		return refuse("cron", "a schedule has a cron expression or a head that it follows, one of them", fieldsHint)
	case s.OnChange != "" && s.Zone != "":
		return refuse("zone", "a head that moves needs no time zone", "leave it out")
	case s.OnChange != "":
		return e.follow(ctx, s)
	case s.Overlap == jobspec.OverlapReplace && s.CatchUp > jobspec.CatchUpLast:
		return refuse("catch_up", fmt.Sprintf("of %s all but the newest would be replaced at once", s.CatchUp), "give last, or overlap allow or forbid")
	}
	_, err = ParseExpr(s.Cron, s.Zone, s.Created, now, e.cfg.Interval)
	return err
}

// insert writes a new schedule, or returns the one that is the same.
func (e *Engine) insert(ctx context.Context, s jobspec.Schedule) (first jobspec.Schedule, err error) {
	first = s
	err = e.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		all, err := tx.Schedules("")
		if err != nil {
			return err
		}
		own := 0
		for _, o := range all {
			if o.Tenant != s.Tenant || o.Away != "" {
				continue
			}
			own++
			switch {
			case o.Name != s.Name:
			case o.Cron == s.Cron && o.Zone == s.Zone && o.OnChange == s.OnChange && o.Overlap == s.Overlap && o.CatchUp == s.CatchUp && o.SpecCID == s.SpecCID:
				first = o
				return nil
			default:
				return jobspec.Failure{
					Kind: jobspec.KindConflict, Where: "name", Detail: fmt.Sprintf("there is another schedule %q already", s.Name),
					Hint: "give another --name, or remove it first: ipdc cron rm " + s.Name,
				}.Error()
			}
		}
		if own >= e.cfg.PerTenant || len(all) >= maxAll {
			return jobspec.Failure{
				Kind:   jobspec.KindLimit,
				Detail: fmt.Sprintf("%d schedules of %s, at most %d are kept of one tenant (%d of the node's %d)", own, s.Tenant, e.cfg.PerTenant, len(all), maxAll),
				Hint:   "remove some with ipdc cron rm, or raise the node's setting tenant-schedules",
			}.Error()
		}
		return tx.PutSchedule(s)
	})
	return first, err
}
