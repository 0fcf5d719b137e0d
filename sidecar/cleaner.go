package sidecar

import (
	"context"
	"errors"
	"time"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/internal/failpoint"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/inputcache"
	"github.com/ipdc/ipdc/sidecar/volume"
	"github.com/ipdc/ipdc/store"
)

// discard removes all that an attempt has on this machine but its log.
func (s *Sidecar) discard(ctx context.Context, a jobspec.Attempt) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	defer s.tookInputs(a.ID)
	if err := s.removeContainer(ctx, a); err != nil {
		return err // the volume is in use; the sweeper comes back
	}
	return errors.Join(s.cfg.Volumes.Remove(ctx, a.ID.String()), removeRunDir(s.runDir(a.ID)))
}

// removeContainer removes an attempt's container. One that was made and whose
// id was not recorded, because the node or the call ended in between, is found
// by its name.
func (s *Sidecar) removeContainer(ctx context.Context, a jobspec.Attempt) error {
	if a.Container != "" {
		return s.cfg.Executor.Remove(ctx, executor.ID(a.Container))
	}
	name := s.prefix + a.ID.String()
	list, err := s.cfg.Executor.List(ctx, name)
	for _, c := range list {
		if c.Name == name {
			err = errors.Join(err, s.cfg.Executor.Remove(ctx, c.ID))
		}
	}
	return err
}

// cleanup gives back resources and cache entries, and removes the container in
// the background: nobody waits for that.
func (r *runner) cleanup() {
	r.closeNetwork()
	if r.shuttingDown() {
		r.release = nil // a container that runs on has them mounted
	}
	r.letGo()
	r.vol = volume.Volume{}
	r.code, r.input, r.deps = inputcache.Entry{}, inputcache.Entry{}, inputcache.Entry{}
	if r.att.State == jobspec.AttemptRecorded {
		r.cleanLater(r.att)
	}
}

// letGo gives back cache entries, then resources: whoever stages next has the
// room of what is gone.
func (r *runner) letGo() {
	for _, release := range r.release {
		release()
	}
	r.release = nil
	r.freeResources()
}

func (r *runner) freeResources() {
	if r.holds {
		r.placer.release(r.job.Spec.Resources)
		r.holds = false
		r.setActive(-1)
	}
}

// Bounds of cleaning in the background.
const (
	cleaners = 2  // attempts at a time, so that it does not keep others from starting
	backlog  = 32 // attempts that wait for that; of more, each is cleaned at once
)

// cleanLater moves a recorded attempt to cleaned in the background, unless that
// is under way.
func (s *Sidecar) cleanLater(a jobspec.Attempt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cleaning[a.ID] || s.base == nil {
		return
	}
	s.cleaning[a.ID] = true
	base := s.base
	ctx := context.WithoutCancel(base) // cleaning is short, and outlives a stop
	crowded := len(s.cleaning) > backlog
	s.work.Go(func() {
		defer s.cleaned(a.ID)
		turn := &turn{of: s.cleaners}
		if !crowded {
			_ = turn.take(base) // a node that stops goes on at once
			defer turn.leave()
		}
		failpoint.Hit(string(jobspec.AttemptCleaned) + ".before-effect")
		if err := s.discard(ctx, a); err != nil {
			s.metrics.stuck.Inc()
			s.log.Warn("clean attempt", "attempt", a.ID, "err", err)
			return
		}
		failpoint.Hit(string(jobspec.AttemptCleaned) + ".after-effect")
		err := s.cfg.Store.Update(ctx, func(tx *store.Tx) error {
			now, err := tx.Attempt(a.ID)
			if err != nil || now.State != jobspec.AttemptRecorded {
				return err
			}
			now.State = jobspec.AttemptCleaned
			return tx.PutAttempt(now)
		})
		if err != nil && !errors.Is(err, jobspec.KindNotFound.Error()) {
			s.log.Warn("record cleaned attempt", "attempt", a.ID, "err", err)
		}
		failpoint.Hit(string(jobspec.AttemptCleaned) + ".after-completion")
	})
}

func (s *Sidecar) cleaned(id jobspec.AttemptID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.cleaning, id)
}

// sweepRecorded cleans attempts that were reported and then not cleaned: the
// node was killed, or the engine could not remove the container.
func (s *Sidecar) sweepRecorded(ctx context.Context) error {
	var left []jobspec.Attempt
	err := s.cfg.Store.View(ctx, func(tx *store.Tx) error {
		list, err := tx.LiveAttempts()
		for _, a := range list {
			if a.State == jobspec.AttemptRecorded {
				left = append(left, a)
			}
		}
		return err
	})
	for _, a := range left {
		s.cleanLater(a)
	}
	return err
}
