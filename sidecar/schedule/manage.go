package schedule

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
)

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
	if _, err := e.pass(ctx); err != nil {
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

// Remove deletes a schedule with its history. Its jobs stay. One that goes on at
// another member is removed there: here that is refused.
func (e *Engine) Remove(ctx context.Context, tenant, ref string) (s jobspec.Schedule, err error) {
	if s, err = e.Schedule(ctx, tenant, ref); err != nil {
		return s, err
	}
	if s.Away != "" {
		if over, err := e.cfg.Holder.Over(ctx, s); err != nil || !over {
			return s, cmp.Or(err, here(s))
		}
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
