package schedule

import (
	"context"
	"errors"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
)

// Run runs the schedules until ctx ends, and returns nil then. It is called once.
func (e *Engine) Run(ctx context.Context) error {
	defer e.visits.stop()
	for {
		if _, err := e.pass(ctx); err != nil && ctx.Err() == nil {
			e.log.Warn("schedules", "err", err)
		}
		timer := time.NewTimer(e.wait())
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		case <-e.wake:
			timer.Stop()
		}
	}
}

// Wake has the schedules looked at at once, as when a job has ended.
func (e *Engine) Wake() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// Tick does what is due now, waits for that, and returns when the next look is
// worth while.
func (e *Engine) Tick(ctx context.Context) (wait time.Duration, err error) {
	begun, err := e.pass(ctx)
	for _, v := range begun {
		select {
		case <-v.done:
			err = errors.Join(err, v.err)
		case <-ctx.Done():
			return e.cfg.Poll, ctx.Err()
		}
	}
	return e.wait(), err
}

// wait is how long nothing is to be decided.
func (e *Engine) wait() time.Duration {
	wait := e.cfg.Poll
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, at := range e.next {
		if !at.IsZero() {
			wait = min(wait, max(at.Sub(e.now()), 0))
		}
	}
	return wait
}

// pass decides about all instants that are due now, which takes the disk only,
// and has their jobs made in the background.
func (e *Engine) pass(ctx context.Context) (begun []*visit, err error) {
	e.tick.Lock()
	defer e.tick.Unlock()
	m, err := e.moment(ctx)
	if err != nil {
		return nil, err
	}
	var tend []jobspec.ScheduleID
	for _, d := range e.due(m) {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		live := true
		if d.decide {
			var derr error
			if live, derr = e.settle(ctx, d.id, m); derr != nil {
				err = errors.Join(err, derr)
				if errors.Is(derr, errCrash) {
					return nil, err
				}
				continue
			}
		}
		if live || d.live {
			tend = append(tend, d.id)
		}
	}
	e.began = true
	for _, id := range tend {
		begun = append(begun, e.visit(ctx, id))
	}
	return begun, err
}

// errCrash marks an error of Config.Step: the pass ends where it is, as in a crash.
var errCrash = errors.New("crash")

func (e *Engine) step(place string) error {
	if err := e.cfg.Step(place); err != nil {
		return errors.Join(errCrash, err)
	}
	return nil
}

// moment is the time of one pass.
type moment struct {
	now  time.Time
	why  jobspec.Missed // what instants are missed for that are not on time
	back bool           // the clock was set back since the last pass
}

// moment reads the clocks. The first pass also looks which schedules there are.
func (e *Engine) moment(ctx context.Context) (moment, error) {
	m := moment{now: e.now(), why: jobspec.MissedLate}
	ran := e.cfg.Elapsed()
	if !e.began {
		m.why = jobspec.MissedDown
		if err := e.load(ctx); err != nil {
			return m, err
		}
	} else {
		jump := m.now.Sub(e.wall) - (ran - e.ran)
		m.back = jump < -time.Second
		if jump > e.cfg.Grace {
			m.why = jobspec.MissedClock
		}
		if m.back || jump > e.cfg.Grace {
			e.log.Warn("the clock was set", "by", jump.Round(time.Second))
		}
	}
	e.wall, e.ran = m.now, ran
	return m, nil
}

func (e *Engine) now() time.Time { return e.cfg.Now().UTC() }

// load notes all schedules: each is looked at in this pass.
func (e *Engine) load(ctx context.Context) error {
	var list []jobspec.Schedule
	err := e.cfg.Store.View(ctx, func(tx *store.Tx) (err error) {
		list, err = tx.Schedules("")
		return err
	})
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range list {
		e.next[s.ID], e.live[s.ID] = e.now(), true
	}
	return err
}

// dueSchedule is one to look at in a pass.
type dueSchedule struct {
	id     jobspec.ScheduleID
	decide bool // there may be new instants
	live   bool // some have not ended
}

// due are the schedules to look at in this pass.
func (e *Engine) due(m moment) (list []dueSchedule) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for id, at := range e.next {
		if m.back { // until it was looked at, should this pass be cut short
			at = time.Unix(0, 0)
			e.next[id] = at
		}
		d := dueSchedule{id, !at.IsZero() && !at.After(m.now), e.live[id]}
		if !e.entering[id] && (d.decide || d.live) {
			list = append(list, d)
			delete(e.asked, id)
		}
	}
	return list
}

// visit looks at a schedule in the background: at its head, if it follows one,
// and at the jobs of its instants.
func (e *Engine) visit(ctx context.Context, id jobspec.ScheduleID) *visit {
	return e.visits.add(ctx, id, func(ctx context.Context) error {
		live, err := e.tend(ctx, id)
		switch {
		case err != nil && ctx.Err() != nil:
			return err // the node stops
		case errors.Is(err, jobspec.KindNotFound.Error()):
			e.forget(id)
			return nil
		case err != nil:
			e.log.Warn("schedule", "id", id, "err", err)
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		if _, known := e.next[id]; known {
			e.live[id] = live || e.asked[id] // when something came after this look began
		}
		return err
	})
}

// look has a schedule looked at in the next pass, which begins now.
func (e *Engine) look(id jobspec.ScheduleID) {
	e.mu.Lock()
	e.next[id], e.asked[id] = time.Unix(0, 0), true
	e.mu.Unlock()
	e.Wake()
}

func (e *Engine) forget(id jobspec.ScheduleID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.next, id)
	delete(e.live, id)
	delete(e.asked, id)
}
