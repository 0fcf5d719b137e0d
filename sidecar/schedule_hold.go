package sidecar

import (
	"context"
	"errors"
	"fmt"
	"strings"

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

// sweepSchedules lets go of what schedules needed that are no more, and pins
// what a kill kept from being pinned.
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
		known[sch.ID.String()] = true
		err = errors.Join(err, s.pinMissing(ctx, sch, pinned))
	}
	for _, p := range pins {
		id, _, _ := strings.Cut(strings.TrimPrefix(p.Name, schedulePins), "/")
		if !known[id] && s.now().Sub(p.Created) > custodyYoung {
			err = errors.Join(err, s.cfg.IPFS.Unpin(ctx, p.Name))
		}
	}
	return err
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
