package schedule

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
)

// Tenancy is by what this node owns a schedule in the keepers' record.
type Tenancy struct {
	Tenure jobspec.Tenure

	// Of a schedule that was another member's:
	Taken   bool
	New     *jobspec.Schedule // as that one made it, with what it counts now
	Paused  bool
	Cursor  int64            // of the newest instant with a job: those after it are decided here
	Running *jobspec.Instant // that instant, if its job is known
}

// Own notes that a schedule is this node's. One that was another's goes on
// behind the newest instant that has a job there; what that member listed as
// missed since is decided here anew, and so is what was left to it.
func (e *Engine) Own(ctx context.Context, id jobspec.ScheduleID, t Tenancy) error {
	err := e.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		s, err := tx.Schedule(id)
		if errors.Is(err, jobspec.KindNotFound.Error()) && t.New != nil {
			s, err = *t.New, nil
			s.Cursor, s.Floor = max(t.Cursor, s.Cursor), max(t.Cursor, s.Cursor)
		}
		if err != nil {
			return err
		}
		s.Tenure, s.Away = &t.Tenure, ""
		if t.Taken {
			s.Paused = t.Paused
			if c := t.New.Counts; c != nil && c.Base >= base(s) {
				s.Counts = c
			}
			s.Cursor, s.Floor = max(t.Cursor, s.Cursor), max(t.Cursor, s.Floor)
			if err := reopen(tx, &s, t.Cursor); err != nil {
				return err
			}
		}
		if err := tx.PutSchedule(s); err != nil || t.Running == nil {
			return err
		}
		if err := tx.AddInstant(*t.Running); !errors.Is(err, jobspec.KindConflict.Error()) {
			return err
		}
		return nil
	})
	if err == nil {
		e.look(id)
	}
	return err
}

// reopen makes the instants undecided again that were left to another member and
// that have no job there: they lie behind the slot of the newest one that has.
func reopen(tx *store.Tx, s *jobspec.Schedule, behind int64) error {
	kind := jobspec.InstantTime
	if s.OnChange != "" {
		kind = jobspec.InstantChange
	}
	list, err := tx.InstantsAfter(s.ID, kind, behind)
	for _, i := range list {
		switch {
		case i.Missed != jobspec.MissedMoved || err != nil:
		case i.Kind == jobspec.InstantChange && i.Dataset == "": // a value that the head may not have any more
			i.State, i.Missed = jobspec.InstantDue, ""
			err = tx.PutInstant(i)
		default:
			s.Cursor = min(s.Cursor, i.Slot-1)
			err = tx.DeleteInstant(i)
		}
	}
	return err
}

// Lose notes that another member owns a schedule. Its history here stays.
func (e *Engine) Lose(ctx context.Context, id jobspec.ScheduleID, to identity.ID) error {
	err := e.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		s, err := tx.Schedule(id)
		if err != nil {
			return err
		}
		s.Away = to
		return tx.PutSchedule(s)
	})
	if err == nil {
		e.look(id)
	}
	return err
}

// Forget removes a schedule that is no more.
func (e *Engine) Forget(ctx context.Context, id jobspec.ScheduleID) error {
	err := e.cfg.Store.Update(ctx, func(tx *store.Tx) error { return tx.DeleteSchedule(id) })
	if err == nil {
		e.forget(id)
	}
	return err
}

// Get returns a schedule, or an error of kind E_NOT_FOUND.
func (e *Engine) Get(ctx context.Context, id jobspec.ScheduleID) (s jobspec.Schedule, err error) {
	err = e.cfg.Store.View(ctx, func(tx *store.Tx) error {
		s, err = tx.Schedule(id)
		return err
	})
	return s, err
}

// Entering reports whether a schedule is being made and not acknowledged yet.
func (e *Engine) Entering(id jobspec.ScheduleID) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.entering[id]
}

// Bounds of the times in a schedule of another member.
const (
	maxAhead   = 24 * time.Hour // clocks differ
	maxAge     = 50 * 365 * 24 * time.Hour
	maxVersion = 1 << 53 // of a head
)

// CheckTimes refuses a schedule of another member that was made, or decided up
// to, when no honest clock could be: versions says that cursors count those of a
// head.
func (e *Engine) CheckTimes(created time.Time, versions bool, cursors ...int64) error {
	now := e.now()
	if created.Before(now.Add(-maxAge)) || created.After(now.Add(maxAhead)) {
		return refuse("created", fmt.Sprintf("%s is not within %d years before now and a day after", created.UTC().Format(time.RFC3339), maxAge/(365*24*time.Hour)), "")
	}
	most := now.Add(maxAhead).Unix()
	if versions {
		most = maxVersion
	}
	for _, c := range cursors {
		if c < 0 || c > most {
			return refuse("cursor", fmt.Sprintf("%d is not from 0 to %d", c, most), "")
		}
	}
	return nil
}

// Check says whether this node would run a schedule that another member made.
func (e *Engine) Check(s jobspec.Schedule) error {
	if !nameForm.MatchString(s.Name) || s.CatchUp < 0 || s.CatchUp > jobspec.MaxCatchUp || (s.Cron == "") == (s.OnChange == "") {
		return refuse("schedule", "it is not well-formed", "")
	}
	if _, err := jobspec.ParseOverlap(string(s.Overlap)); err != nil {
		return err
	}
	if err := e.CheckTimes(s.Created, s.OnChange != "", s.Cursor, s.Floor, base(s)); err != nil {
		return err
	}
	if s.OnChange != "" {
		if e.cfg.Heads == nil {
			return jobspec.KindPolicy.Errorf("this node follows no heads")
		}
		return nil
	}
	_, err := ParseExpr(s.Cron, s.Zone, s.Created, e.now(), e.cfg.Interval)
	return err
}
