package schedule

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
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
// false; another one of the same name is refused with E_CONFLICT.
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

// Schedules lists those of a tenant by name.
func (e *Engine) Schedules(ctx context.Context, tenant string) (list []jobspec.Schedule, err error) {
	err = e.cfg.Store.View(ctx, func(tx *store.Tx) error {
		list, err = tx.Schedules(tenant)
		return err
	})
	return list, err
}

// Schedule returns the one that ref means: a name, an id or a beginning of one.
func (e *Engine) Schedule(ctx context.Context, tenant, ref string) (s jobspec.Schedule, err error) {
	err = e.cfg.Store.View(ctx, func(tx *store.Tx) error {
		s, err = find(tx, tenant, ref)
		return err
	})
	return s, err
}

func find(tx *store.Tx, tenant, ref string) (s jobspec.Schedule, err error) {
	list, err := tx.FindSchedules(tenant, ref)
	if err != nil {
		return s, err
	}
	for _, exact := range []func(jobspec.Schedule) bool{
		func(s jobspec.Schedule) bool { return s.Name == ref && s.Away == "" },
		func(s jobspec.Schedule) bool { return s.Name == ref || s.ID.String() == strings.ToLower(ref) },
	} {
		if n := slices.IndexFunc(list, exact); n >= 0 {
			return list[n], nil
		}
	}
	switch len(list) {
	case 1:
		return list[0], nil
	case 0:
		return s, jobspec.Failure{
			Kind: jobspec.KindNotFound, Detail: fmt.Sprintf("there is no schedule %.80q", ref), Hint: "`ipdc cron list` shows the schedules",
		}.Error()
	}
	return s, jobspec.Failure{
		Kind: jobspec.KindConflict, Detail: fmt.Sprintf("%q is the beginning of %d ids of schedules", ref, len(list)), Hint: "type more characters, or the name",
	}.Error()
}

// Next returns the next n instants of a schedule, at most 1,000; none while it
// is paused, and of a head.
func (e *Engine) Next(s jobspec.Schedule, n int) (list []time.Time) {
	if s.OnChange != "" || s.Paused || s.Away != "" {
		return nil
	}
	expr, err := compile(s.Cron, s.Zone, s.Created)
	if err != nil {
		return nil
	}
	at := e.now()
	if c := time.Unix(s.Cursor, 0); c.After(at) {
		at = c
	}
	for range min(n, singles) {
		if at = expr.Next(at); at.IsZero() {
			break
		}
		list = append(list, at)
	}
	return list
}

// Pause stops a schedule, or lets it go on. Instants up to now are decided by
// what it was before.
func (e *Engine) Pause(ctx context.Context, tenant, ref string, paused bool) (s jobspec.Schedule, err error) {
	if s, err = e.Schedule(ctx, tenant, ref); err != nil {
		return s, err
	}
	if err := here(s); err != nil || s.Paused == paused {
		return s, err
	}
	e.look(s.ID)
	if _, err := e.Tick(ctx); err != nil {
		return s, err
	}
	s.Paused = paused
	if err := e.cfg.Holder.Amend(ctx, s); err != nil {
		return s, err
	}
	err = e.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		if s, err = tx.Schedule(s.ID); err != nil {
			return err
		}
		s.Paused = paused
		return tx.PutSchedule(s)
	})
	e.look(s.ID)
	return s, err
}

// here refuses to change what another member owns.
func here(s jobspec.Schedule) error {
	if s.Away == "" {
		return nil
	}
	return jobspec.Failure{
		Kind: jobspec.KindLeaseLost, Where: "schedule " + s.Name, Detail: s.Away.String() + " owns it now",
		Hint: "change it there; `ipdc cron history` shows here what was run here",
	}.Error()
}

// RunNow records an instant of now, whatever the schedule says.
func (e *Engine) RunNow(ctx context.Context, tenant, ref string) (i jobspec.Instant, err error) {
	s, err := e.Schedule(ctx, tenant, ref)
	if err == nil {
		err = here(s)
	}
	if err != nil {
		return i, err
	}
	i = jobspec.Instant{Schedule: s.ID, Kind: jobspec.InstantManual, At: e.now().Truncate(time.Second), State: jobspec.InstantDue, Noted: e.now().Truncate(time.Millisecond)}
	if s.OnChange != "" && e.cfg.Heads != nil {
		head, err := e.head(ctx, s)
		if err != nil {
			return i, err
		}
		i.Input, i.Dataset = head.CID, head.named
	}
	err = e.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		live, err := tx.LiveInstants(s.ID)
		if err != nil {
			return err
		}
		if len(live) > 0 && s.Overlap == jobspec.OverlapForbid {
			return jobspec.Failure{
				Kind: jobspec.KindConflict, Where: "schedule " + s.Name, Detail: fmt.Sprintf("job %s of %s has not ended, and overlap is forbidden", live[0].JobID(), live[0].At.Format(time.RFC3339)),
				Hint: "wait for it, or stop it: ipdc job stop " + live[0].JobID().String(),
			}.Error()
		}
		if n := waiting(live); n >= maxBehind {
			return jobspec.Failure{
				Kind: jobspec.KindLimit, Where: "schedule " + s.Name, Detail: fmt.Sprintf("%d of its instants wait for their jobs, at most %d may", n, maxBehind),
				Hint: "run it when some have begun; `ipdc cron history " + s.Name + "` shows them",
			}.Error()
		}
		for i.Slot = e.now().UnixMilli(); ; i.Slot++ {
			if err := tx.AddInstant(i); errors.Is(err, jobspec.KindConflict.Error()) {
				continue
			} else if err != nil {
				return err
			}
			_, err := tx.PruneInstants(s.ID, jobspec.InstantManual, e.cfg.History)
			return err
		}
	})
	if err != nil {
		return i, err
	}
	e.look(s.ID)
	if _, err := e.Tick(ctx); err != nil {
		e.log.Debug("run now", "schedule", s.Name, "err", err) // the row is there, and its job is made as soon as can be
	}
	i.Job = i.JobID()
	err = e.cfg.Store.View(ctx, func(tx *store.Tx) error {
		now, ok, err := tx.Instant(i.Schedule, i.Kind, i.Slot)
		if ok && now.State != jobspec.InstantDue {
			i = now
		}
		return err
	})
	if err == nil && i.State == jobspec.InstantMissed {
		err = jobspec.Failure{Kind: jobspec.KindConflict, Where: "schedule " + s.Name, Detail: i.Detail, Hint: "mend what it says, then run it again"}.Error()
	}
	return i, err
}

// Remove deletes a schedule with its history. Its jobs stay. One that another
// member owns goes on there: that is refused.
func (e *Engine) Remove(ctx context.Context, tenant, ref string) (s jobspec.Schedule, err error) {
	if s, err = e.Schedule(ctx, tenant, ref); err != nil {
		return s, err
	}
	if err := here(s); err != nil {
		return s, err
	}
	if err := e.cfg.Holder.Release(ctx, s); err != nil {
		return s, err
	}
	err = e.cfg.Store.Update(ctx, func(tx *store.Tx) error { return tx.DeleteSchedule(s.ID) })
	if err == nil {
		e.forget(s.ID)
		e.log.Info("schedule removed", "schedule", s.Name, "tenant", s.Tenant)
	}
	return s, err
}

// History returns the instants of a schedule, the newest first.
func (e *Engine) History(ctx context.Context, tenant, ref string, limit, skip int) (list []jobspec.Instant, err error) {
	err = e.cfg.Store.View(ctx, func(tx *store.Tx) error {
		s, err := find(tx, tenant, ref)
		if err != nil {
			return err
		}
		list, err = tx.History(s.ID, limit, skip)
		return err
	})
	return list, err
}
