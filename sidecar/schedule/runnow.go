package schedule

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
)

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
	select {
	case <-e.visit(ctx, s.ID).done: // whatever came of it: the row is there, and its job is made as soon as can be
	case <-ctx.Done():
		return i, ctx.Err()
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
