package sidecar

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
)

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

// Over implements [schedule.Holder]: what was of the record of another domain is
// not heard of any more.
func (s scheduled) Over(ctx context.Context, sch jobspec.Schedule) (bool, error) {
	if s.cfg.Record == nil || sch.Tenure == nil || sch.Tenure.Record != s.cfg.Record.Keepers().Record {
		return true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, findFor)
	defer cancel()
	over, err := s.cfg.Record.Over(ctx, sch.ID.Recorded())
	if errors.Is(err, jobspec.KindNotFound.Error()) {
		return true, nil
	}
	return over, err
}

// loseSchedule notes that another member owns a schedule. What its jobs need is
// kept there.
func (s *Sidecar) loseSchedule(ctx context.Context, id jobspec.ScheduleID, to identity.ID) error {
	if err := s.schedules.Lose(ctx, id, to); err != nil {
		return err
	}
	return scheduled{s}.unpinSchedule(ctx, id)
}

// sweepAway forgets the schedules that other members owned and that were removed
// there: nobody tells who had them before.
func (s *Sidecar) sweepAway(ctx context.Context, list []jobspec.Schedule) error {
	for _, sch := range list {
		if sch.Away == "" || !s.recorded() || sch.Tenure == nil || sch.Tenure.Record != s.cfg.Record.Keepers().Record {
			continue
		}
		over, err := scheduled{s}.Over(ctx, sch)
		if err == nil && over {
			s.log.Info("schedule was removed elsewhere", "schedule", sch.Name, "owner", sch.Away)
			err = s.schedules.Forget(ctx, sch.ID)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sweepSchedules lets go of what schedules needed that are no more, or are
// another member's, and pins what a kill kept from being pinned.
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
		known[sch.ID.String()] = sch.Away == ""
		err = errors.Join(err, s.pinMissing(ctx, sch, pinned))
	}
	for _, p := range pins {
		id, _, _ := strings.Cut(strings.TrimPrefix(p.Name, schedulePins), "/")
		if !known[id] && s.now().Sub(p.Created) > custodyYoung {
			err = errors.Join(err, s.cfg.IPFS.Unpin(ctx, p.Name))
		}
	}
	return errors.Join(err, s.sweepAway(ctx, list))
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
