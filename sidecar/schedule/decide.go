package schedule

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
)

// singles is how many instants that are missed at once are listed one by one;
// those before them share a row.
const singles = 1000

// settle decides about the instants of a schedule up to now, but for those of a
// head. live: there may be some that have not ended.
func (e *Engine) settle(ctx context.Context, id jobspec.ScheduleID, m moment) (live bool, err error) {
	s, made, err := e.decide(ctx, id, m)
	if errors.Is(err, jobspec.KindNotFound.Error()) {
		e.forget(id)
		return false, nil
	}
	if err != nil {
		return false, err
	}
	live = s.OnChange != "" || s.Away != ""
	for _, i := range made {
		live = live || i.State.Live()
	}
	e.note(s, made)
	next := e.nextLook(s, m.now)
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, known := e.next[id]; known {
		e.live[id] = e.live[id] || live // should no visit come of this pass
		if !e.asked[id] {
			e.next[id] = next
		}
	}
	return live, nil
}

// note tells of instants that were recorded.
func (e *Engine) note(s jobspec.Schedule, made []jobspec.Instant) {
	for _, i := range made {
		e.metrics.noted(i)
		if i.State == jobspec.InstantMissed {
			e.log.Warn("instant missed", "schedule", s.Name, "at", i.At, "until", i.Until, "why", i.Missed, "detail", i.Detail)
		}
	}
}

// tend looks at a schedule's head and at the jobs of its instants.
func (e *Engine) tend(ctx context.Context, id jobspec.ScheduleID) (live bool, err error) {
	s, list, err := e.read(ctx, id)
	if err != nil {
		return true, err
	}
	if s.OnChange != "" && s.Away == "" && e.cfg.Holder.Ready(s) {
		var made []jobspec.Instant
		if s, made, err = e.decideChange(ctx, s, e.now()); err != nil {
			return true, err
		}
		e.note(s, made)
		list = append(list, made...)
	}
	return e.advance(ctx, s, list)
}

// read returns a schedule and its instants that have not ended.
func (e *Engine) read(ctx context.Context, id jobspec.ScheduleID) (s jobspec.Schedule, live []jobspec.Instant, err error) {
	err = e.cfg.Store.View(ctx, func(tx *store.Tx) error {
		if s, err = tx.Schedule(id); err != nil {
			return err
		}
		live, err = tx.LiveInstants(id)
		return err
	})
	return s, live, err
}

// nextLook is when the schedule has something to decide again.
func (e *Engine) nextLook(s jobspec.Schedule, now time.Time) time.Time {
	switch {
	case s.Away != "":
		return time.Time{}
	case s.OnChange != "" || !e.cfg.Holder.Ready(s):
		return now.Add(e.cfg.Poll)
	}
	expr, err := compile(s.Cron, s.Zone, s.Created)
	if err != nil {
		return time.Time{}
	}
	return expr.Next(time.Unix(s.Cursor, 0))
}

// decide records every instant of the clock up to now that is not recorded, as due or as
// missed, in one transaction.
func (e *Engine) decide(ctx context.Context, id jobspec.ScheduleID, m moment) (s jobspec.Schedule, made []jobspec.Instant, err error) {
	err = e.cfg.Store.View(ctx, func(tx *store.Tx) error {
		s, err = tx.Schedule(id)
		return err
	})
	if err != nil || s.OnChange != "" || s.Away != "" || !e.cfg.Holder.Ready(s) {
		return s, nil, err
	}
	expr, err := compile(s.Cron, s.Zone, s.Created)
	if err != nil {
		return s, nil, fmt.Errorf("schedule %s: %w", s.Name, err)
	}
	back := max(m.now.Unix(), s.Created.Unix()) < s.Cursor
	if !back && expr.Next(time.Unix(s.Cursor, 0)).After(m.now) {
		return s, nil, nil
	}
	if err := e.step("instant-due.before-effect"); err != nil {
		return s, nil, err
	}
	err = e.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		if s, err = tx.Schedule(id); err != nil || s.Away != "" {
			return err
		}
		if back {
			if err := takeBack(tx, &s, expr, m.now); err != nil {
				return err
			}
		}
		if made, err = e.between(tx, &s, expr, m); err != nil {
			return err
		}
		return tx.PutSchedule(s)
	})
	if err == nil {
		err = e.step("instant-due.after-completion")
	}
	return s, made, err
}

// takeBack makes the misses that lie ahead of a clock that was set back
// undecided again. What was run stays.
func takeBack(tx *store.Tx, s *jobspec.Schedule, expr Expr, now time.Time) error {
	at := max(now.Unix(), s.Floor, s.Created.Unix())
	ahead, err := tx.InstantsAfter(s.ID, jobspec.InstantTime, at)
	if err != nil {
		return err
	}
	for _, i := range ahead {
		if i.State == jobspec.InstantMissed {
			if err := tx.DeleteInstant(i); err != nil {
				return err
			}
		}
	}
	across, err := tx.InstantsAcross(s.ID, time.Unix(at, 0))
	if err != nil {
		return err
	}
	for _, i := range across {
		i.Until = time.Unix(at, 0).UTC()
		_, _, _, i.Count = expr.Between(i.At.Add(-time.Second), i.Until, 1)
		i.Count = max(i.Count+1, 0)
		if err := tx.PutInstant(i); err != nil {
			return err
		}
	}
	s.Cursor = at
	return nil
}

// between records the instants between the schedule's cursor and now.
func (e *Engine) between(tx *store.Tx, s *jobspec.Schedule, expr Expr, m moment) (made []jobspec.Instant, err error) {
	list, firstOlder, lastOlder, older := expr.Between(time.Unix(s.Cursor, 0), m.now, singles)
	if len(list) == 0 {
		return nil, nil
	}
	known, err := tx.InstantsAfter(s.ID, jobspec.InstantTime, s.Cursor)
	if err != nil {
		return nil, err
	}
	recorded := map[int64]bool{}
	for _, i := range known {
		recorded[i.Slot] = !e.unsafeTwice
	}
	live, err := tx.LiveInstants(s.ID)
	if err != nil {
		return nil, err
	}
	for older != 0 && recorded[firstOlder.Unix()] {
		firstOlder = expr.Next(firstOlder)
		if older--; firstOlder.After(lastOlder) {
			older = 0
		}
	}
	if older != 0 {
		i := e.instant(*s, firstOlder, m)
		i.Until, i.Count = lastOlder, max(older, 0)
		made = append(made, missed(i, *s, m.why))
	}
	var fresh []jobspec.Instant
	for _, at := range list {
		if !recorded[at.Unix()] {
			fresh = append(fresh, e.instant(*s, at, m))
		}
	}
	made = append(made, share(*s, fresh, live, m, e.cfg.Grace)...)
	for _, i := range made {
		if err := e.add(tx, i); err != nil {
			return nil, err
		}
	}
	s.Cursor = list[len(list)-1].Unix()
	return made, e.prune(tx, s, jobspec.InstantTime)
}

func (e *Engine) add(tx *store.Tx, i jobspec.Instant) error {
	if e.unsafeTwice {
		return tx.PutInstant(i)
	}
	return tx.AddInstant(i)
}

// prune forgets what is too much of a schedule's history of a kind.
func (e *Engine) prune(tx *store.Tx, s *jobspec.Schedule, kind jobspec.InstantKind) error {
	gone, err := tx.PruneInstants(s.ID, kind, e.cfg.History)
	if kind == jobspec.InstantTime {
		s.Floor = max(s.Floor, gone)
	}
	return err
}

func (e *Engine) instant(s jobspec.Schedule, at time.Time, m moment) jobspec.Instant {
	return jobspec.Instant{
		Schedule: s.ID, Kind: jobspec.InstantTime, Slot: at.Unix(), At: at.UTC(), State: jobspec.InstantDue, Noted: m.now.Truncate(time.Millisecond),
	}
}

// share says which of the instants that are due now are run, and why the others
// are not. They are in order, and have no row yet.
func share(s jobspec.Schedule, fresh, live []jobspec.Instant, m moment, grace time.Duration) []jobspec.Instant {
	late := len(fresh) // of them, the first so many
	if late > 0 && m.now.Sub(fresh[late-1].At) <= grace {
		late--
	}
	most := int(s.CatchUp)
	if most == 1 && late < len(fresh) || s.Overlap == jobspec.OverlapReplace {
		most = min(most, 1) - (len(fresh) - late) // the newest one is on time
	}
	for n := range fresh {
		i := &fresh[n]
		switch {
		case s.Paused:
			i.State, i.Missed = jobspec.InstantMissed, jobspec.MissedPaused
		case n < late-max(most, 0):
			*i = missed(*i, s, m.why)
		case s.Overlap != jobspec.OverlapForbid || len(live) == 0:
		case n < late && most > 1 && waiting(live)+late-n <= most: // it waits for its turn
		default:
			first := live[0]
			i.State, i.Missed = jobspec.InstantMissed, jobspec.MissedOverlap
			i.Detail = fmt.Sprintf("job %s of %s had not ended", first.JobID(), first.At.Format(time.RFC3339))
		}
	}
	return fresh
}

// waiting counts instants whose job is yet to be made.
func waiting(live []jobspec.Instant) (n int) {
	for _, i := range live {
		if i.State == jobspec.InstantDue {
			n++
		}
	}
	return n
}

// missed is an instant that was not on time and is not made up for.
func missed(i jobspec.Instant, s jobspec.Schedule, why jobspec.Missed) jobspec.Instant {
	i.State, i.Missed = jobspec.InstantMissed, why
	switch {
	case s.Paused:
		i.Missed = jobspec.MissedPaused
	case s.CatchUp > jobspec.CatchUpNone:
		i.Missed = jobspec.MissedCatchUp
		i.Detail = fmt.Sprintf("%s; catch-up is %s", why.Text(), s.CatchUp)
	default:
		i.Detail = why.Text()
	}
	return i
}
