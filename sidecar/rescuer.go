package sidecar

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
)

const bootKey = "boot_id"

// rescue goes on where an earlier process was killed: attempts of before a
// reboot are given up, and jobs that are not final get a driver. What no row
// knows the first sweep removes.
func (s *Sidecar) rescue(ctx context.Context) error {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		boot = nil // not Linux: containers are looked up one by one
	}
	var jobs []jobspec.Job
	err = s.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		if err := s.markRebooted(tx, string(bytes.TrimSpace(boot))); err != nil {
			return err
		}
		if jobs, err = tx.Jobs(store.Filter{Live: true}); err != nil {
			return err
		}
		return s.reserve(tx, jobs)
	})
	if err != nil {
		return err
	}
	s.settleInputs()
	early := s.letIn()
	for i := len(jobs) - 1; i >= 0; i-- { // oldest first
		if slices.Contains(early, jobs[i].ID) {
			continue
		}
		if jobs[i].Tenure != nil && s.cfg.Record != nil {
			s.unsure = append(s.unsure, jobs[i].ID)
			continue
		}
		s.start(jobs[i].ID)
	}
	for _, id := range early {
		s.start(id)
	}
	if len(jobs) > 0 {
		s.log.Info("took up jobs", "count", len(jobs))
	}
	if err := s.dropLists(ctx); err != nil && ctx.Err() == nil {
		s.log.Warn("lists that an earlier process was about to tell stay", "err", err)
	}
	return nil
}

// letIn lets jobs begin, and returns those that came before: what one of them
// had taken by then would have been taken for an earlier process's, and a second
// time, for good.
func (s *Sidecar) letIn() []jobspec.JobID {
	s.mu.Lock()
	defer s.mu.Unlock()
	early := s.early
	s.rescued, s.early = true, nil
	return early
}

// reserve takes the resources of attempts that still run, before any driver
// can give them to others.
func (s *Sidecar) reserve(tx *store.Tx, jobs []jobspec.Job) error {
	specs, plans := map[jobspec.JobID]jobspec.Spec{}, map[jobspec.JobID]jobspec.Plan{}
	for _, j := range jobs {
		specs[j.ID] = j.Spec
		if len(j.Spec.Stages) > 0 {
			p, err := tx.Plan(j.ID)
			if err != nil && !errors.Is(err, jobspec.KindNotFound.Error()) {
				return err
			}
			plans[j.ID] = p
		}
	}
	live, err := tx.LiveAttempts()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range live {
		if spec, ok := specs[a.ID.Job]; ok && !reported(a) && a.Node == s.id.String() {
			res := spec.Stage(plans[a.ID.Job].StageOf(a.ID.Task)).Resources
			s.reserved[a.ID] = res
			s.placer.take(res)
			s.mounted[a.ID] = true
		}
	}
	return nil
}

// claim hands a reservation over to the caller, who gives it back.
func (s *Sidecar) claim(id jobspec.AttemptID) (jobspec.Resources, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	res, ok := s.reserved[id]
	delete(s.reserved, id)
	return res, ok
}

// tookInputs notes that an attempt has asked for its inputs here, or needs them
// no more.
func (s *Sidecar) tookInputs(id jobspec.AttemptID) {
	s.mu.Lock()
	waited := s.mounted[id]
	delete(s.mounted, id)
	s.mu.Unlock()
	if waited {
		s.settleInputs()
	}
}

// settleInputs lets the caches remove what nobody has asked for, once all have
// asked that an earlier process left running: that may be late, as jobs wait for
// the word of the keepers.
func (s *Sidecar) settleInputs() {
	s.mu.Lock()
	left := len(s.mounted)
	s.mu.Unlock()
	if left == 0 {
		s.cfg.Inputs.Settle()
		s.cfg.CARs.Settle()
	}
}

// markRebooted gives up attempts whose processes ended with the machine: their
// exit codes, where the engine has any, say nothing about the program. Uptimes
// of the boot before say nothing either, even where this one is longer already.
func (s *Sidecar) markRebooted(tx *store.Tx, boot string) error {
	last, known, err := tx.Meta(bootKey)
	if err != nil {
		return err
	}
	if boot == "" || last == boot {
		return nil
	}
	if err := tx.PutMeta(bootKey, boot); err != nil || !known {
		return err
	}
	jobs, err := tx.Jobs(store.Filter{Live: true})
	if err != nil {
		return err
	}
	for _, j := range jobs {
		if j.Uptime == 0 {
			continue
		}
		j.Uptime = 0
		if err := tx.PutJob(j); err != nil {
			return err
		}
	}
	live, err := tx.LiveAttempts()
	if err != nil {
		return err
	}
	for _, a := range live {
		if a.State == jobspec.AttemptPackaged || a.State == jobspec.AttemptRecorded || a.Node != s.id.String() {
			continue // nothing of it runs any more, or on another machine
		}
		if a.State, err = a.State.To(jobspec.AttemptAbandoned); err != nil {
			return err
		}
		a.Failure = &jobspec.Failure{Kind: jobspec.KindLost, Where: fmt.Sprintf("task %d", a.ID.Task), Detail: "the machine was restarted"}
		if err := tx.PutAttempt(a); err != nil {
			return err
		}
	}
	return nil
}
