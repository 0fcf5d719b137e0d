package sidecar

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

// pruneBatch is how many jobs one transaction removes.
const pruneBatch = 200

// kept holds until when final jobs are kept whose spec limits that. It is
// filled from the record by the first sweep, and then as jobs end.
type kept struct {
	until  map[jobspec.JobID]time.Time
	filled bool
}

// keepUntil notes a job that has ended.
func (s *Sidecar) keepUntil(j jobspec.Job) {
	if j.Fired != nil && j.State.Final() {
		s.schedules.Wake()
	}
	if j.Spec.Keep <= 0 || !j.State.Final() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept.until == nil {
		s.kept.until = map[jobspec.JobID]time.Time{}
	}
	s.kept.until[j.ID] = j.Finished.Add(j.Spec.Keep.Std())
}

// sweepKept removes the jobs whose time is over.
func (s *Sidecar) sweepKept(ctx context.Context) error {
	if !s.kept.filled { // by the sweeper alone
		var jobs []jobspec.Job
		err := s.cfg.Store.View(ctx, func(tx *store.Tx) (err error) {
			jobs, err = tx.Jobs(store.Filter{Kept: true})
			return err
		})
		if err != nil {
			return err
		}
		for _, j := range jobs {
			s.keepUntil(j)
		}
		s.kept.filled = true
	}
	over := s.keptOver()
	if len(over) == 0 {
		return nil
	}
	s.log.Info("remove jobs that were kept for their time", "count", len(over))
	return s.forget(ctx, over)
}

func (s *Sidecar) keptOver() (over []jobspec.JobID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, until := range s.kept.until {
		if !s.now().Before(until) {
			over = append(over, id)
		}
	}
	slices.Sort(over)
	return over
}

// forget deletes final jobs with their pins and logs. Their blocks go with the
// next collection; what a crash leaves in between, the sweeper removes.
func (s *Sidecar) forget(ctx context.Context, ids []jobspec.JobID) error {
	for batch := range slices.Chunk(ids, pruneBatch) {
		err := s.cfg.Store.Update(ctx, func(tx *store.Tx) error {
			for _, id := range batch {
				if err := tx.DeleteJob(id); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, id := range batch {
			err = errors.Join(err, s.dropKept(ctx, id))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// dropKept removes what a job without a record has on this machine.
func (s *Sidecar) dropKept(ctx context.Context, id jobspec.JobID) error {
	s.mu.Lock()
	delete(s.kept.until, id)
	s.mu.Unlock()
	pins, err := s.cfg.IPFS.Pins(ctx, pinName(id, ""))
	for _, p := range pins {
		err = errors.Join(err, s.cfg.IPFS.Unpin(ctx, p.Name))
	}
	return errors.Join(err, os.RemoveAll(s.logDir(id)))
}

// Prune removes final jobs, or says which ones it would remove.
func (s *Sidecar) Prune(ctx context.Context, tenant string, f api.PruneFilter) (res wire.Pruned, err error) {
	var jobs []jobspec.Job
	err = s.cfg.Store.View(ctx, func(tx *store.Tx) error {
		jobs, err = tx.Jobs(store.Filter{Tenant: tenant, States: f.States, Labels: f.Labels})
		return err
	})
	if err != nil {
		return res, err
	}
	res.DryRun = f.DryRun
	var ids []jobspec.JobID
	for _, j := range slices.Backward(jobs) { // oldest first
		if !j.State.Final() || f.OlderThan > 0 && s.now().Sub(j.Finished) < f.OlderThan {
			continue
		}
		ids = append(ids, j.ID)
		res.Jobs = append(res.Jobs, wire.PrunedJob{ID: j.ID, Name: j.Spec.Name, State: j.State, Finished: j.Finished, Result: j.Result})
	}
	if err := s.pruneHanded(ctx, tenant, f, &res); err != nil || f.DryRun {
		return res, err
	}
	return res, s.forget(ctx, ids)
}
