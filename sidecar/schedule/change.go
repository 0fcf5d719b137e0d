package schedule

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
)

// Heads knows the heads that schedules may follow.
type Heads interface {
	// Head returns the newest version of a head and its value. Where the source
	// has no versions, as IPNS and DNSLink, the version is 0. E_NOT_FOUND,
	// E_SPEC: there is no such head, or no source for it.
	Head(ctx context.Context, tenant, name string) (Version, error)
	// After returns the versions after one, in order. It is not called for a
	// head without versions.
	After(ctx context.Context, tenant, name string, version int64) ([]Version, error)
}

// Version is one value of a head.
type Version struct {
	Version int64 // from 1; 0 = the source has none
	CID     jobspec.CID
	ID      string // of the dataset: one that is made anew has another; "" where the source has none

	named string // NAME@VERSION; "" where the source has none
}

// maxBehind is how many versions of a head wait for their jobs; the rest is
// taken up after them.
const maxBehind = 100

// lookFor bounds one question about a head.
const lookFor = 30 * time.Second

// decideChange records the versions of a head that are new. Those that come
// while the schedule is paused wait.
func (e *Engine) decideChange(ctx context.Context, s jobspec.Schedule, now time.Time) (_ jobspec.Schedule, made []jobspec.Instant, err error) {
	if s.Paused || e.cfg.Heads == nil {
		return s, nil, nil
	}
	s, versions, err := e.versions(ctx, s)
	if err != nil {
		e.log.Warn("look at a head", "schedule", s.Name, "head", s.OnChange, "err", err)
		return s, nil, nil // it is looked at again
	}
	if len(versions) == 0 {
		return s, nil, nil
	}
	if err := e.step("instant-due.before-effect"); err != nil {
		return s, nil, err
	}
	err = e.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		made = nil
		counted := base(s)
		if s, err = tx.Schedule(s.ID); err != nil || s.Away != "" || s.Paused || base(s) != counted {
			return err
		}
		live, err := tx.LiveInstants(s.ID)
		if err != nil {
			return err
		}
		for _, v := range versions {
			slot := counted + v.Version
			if slot <= s.Cursor || len(live)+len(made) >= maxBehind {
				continue
			}
			i := jobspec.Instant{
				Schedule: s.ID, Kind: jobspec.InstantChange, Slot: slot, At: now.Truncate(time.Second), State: jobspec.InstantDue,
				Input: v.CID, Dataset: v.named, Noted: now.Truncate(time.Millisecond),
			}
			if err := e.add(tx, i); err == nil {
				made = append(made, i)
			} else if !errors.Is(err, jobspec.KindConflict.Error()) {
				return err
			}
			s.Cursor, s.Head = slot, v.CID
		}
		return errors.Join(e.prune(tx, &s, jobspec.InstantChange), tx.PutSchedule(s))
	})
	if err == nil {
		err = e.step("instant-due.after-completion")
	}
	return s, made, err
}

// Moved has the schedules of a tenant that follow a dataset look at it now. They
// do so within Config.Poll anyway, as with those of other members.
func (e *Engine) Moved(ctx context.Context, tenant, dataset string) {
	list, err := e.Schedules(ctx, tenant)
	if err != nil {
		e.log.Debug("look for schedules of a dataset", "dataset", dataset, "err", err)
	}
	for _, s := range list {
		ref, err := jobspec.ParseDatasetRef(s.OnChange)
		if err == nil && ref.Name == dataset && s.Away == "" && !s.Paused {
			e.look(s.ID)
		}
	}
}

// versions are those of the head that may be new. Of a head without versions
// the values that were seen are counted.
func (e *Engine) versions(ctx context.Context, s jobspec.Schedule) (jobspec.Schedule, []Version, error) {
	head, err := e.head(ctx, s)
	if err == nil {
		s, err = e.count(ctx, s, head)
	}
	last := max(s.Cursor-base(s), 0)
	switch {
	case err != nil:
		return s, nil, err
	case head.Version == 0 && head.CID != s.Head:
		return s, []Version{{Version: s.Cursor + 1, CID: head.CID}}, nil
	case head.Version == 0 || head.Version <= last:
		return s, nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookFor)
	defer cancel()
	list, err := e.cfg.Heads.After(ctx, s.Tenant, s.OnChange, last)
	for i, v := range list {
		list[i].named = fmt.Sprintf("%s@%d", s.OnChange, v.Version)
		if v.ID != head.ID { // made anew since: that is seen with the next look
			return s, nil, err
		}
	}
	return s, list, err
}

// base is the slot before that of the head's first version.
func base(s jobspec.Schedule) int64 {
	if s.Counts == nil {
		return 0
	}
	return s.Counts.Base
}

// counts is what a schedule that follows a head counts from now on: versions of a
// dataset that was made anew come behind all slots that are taken. Of a schedule
// from before ids were noted the dataset is the one that it followed.
func counts(s jobspec.Schedule, head Version) *jobspec.Counts {
	switch {
	case head.ID == "" || s.Counts != nil && s.Counts.Dataset == head.ID:
		return s.Counts
	case s.Counts == nil:
		return &jobspec.Counts{Dataset: head.ID}
	}
	return &jobspec.Counts{Dataset: head.ID, Base: max(s.Cursor, base(s))}
}

// count notes which dataset the schedule follows, should that be another one than
// before: with the keepers first, so that an heir counts as this node does.
func (e *Engine) count(ctx context.Context, s jobspec.Schedule, head Version) (jobspec.Schedule, error) {
	c := counts(s, head)
	if c == s.Counts {
		return s, nil
	}
	if err := e.cfg.Holder.Count(ctx, s, *c); err != nil {
		return s, err
	}
	if s.Counts != nil {
		e.log.Info("the head was made anew", "schedule", s.Name, "head", s.OnChange)
	}
	err := e.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		now, err := tx.Schedule(s.ID)
		if err == nil && (now.Away != "" || now.Cursor != s.Cursor) {
			err = jobspec.KindConflict.Errorf("the schedule has changed hands") // it is looked at again
		}
		if err != nil {
			return err
		}
		s = now
		s.Counts = c
		return tx.PutSchedule(s)
	})
	return s, err
}

// follow begins at the head as it is now: only later versions are run.
func (e *Engine) follow(ctx context.Context, s *jobspec.Schedule) error {
	if e.cfg.Heads == nil {
		return refuse("on_change", fmt.Sprintf("this node follows no heads, so not %q", s.OnChange), "give a cron expression")
	}
	head, err := e.head(ctx, *s)
	if err != nil {
		return fmt.Errorf("on_change: %w", err)
	}
	s.Cursor, s.Head, s.Counts = head.Version, head.CID, counts(*s, head)
	setInput(&s.Spec, head.named, head.CID)
	return nil
}

// head asks for the newest version of a schedule's head.
func (e *Engine) head(ctx context.Context, s jobspec.Schedule) (Version, error) {
	ctx, cancel := context.WithTimeout(ctx, lookFor)
	defer cancel()
	v, err := e.cfg.Heads.Head(ctx, s.Tenant, s.OnChange)
	if v.Version > 0 {
		v.named = fmt.Sprintf("%s@%d", s.OnChange, v.Version)
	}
	return v, err
}

// setInput makes a head's value the first input: of a dataset by its name, so
// that what else the input says of datasets holds.
func setInput(spec *jobspec.Spec, dataset string, c jobspec.CID) {
	inputs := append([]jobspec.Input(nil), spec.Inputs...)
	if len(inputs) == 0 {
		inputs = []jobspec.Input{{}}
	}
	inputs[0].Dataset, inputs[0].CID = dataset, ""
	if dataset == "" {
		inputs[0].CID = c.String()
	}
	spec.Inputs = inputs
}
