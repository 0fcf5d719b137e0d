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

// kept holds until when final jobs are kept that do not stay until they are
// removed. It is filled from the record by the first sweep, and then as jobs end.
type kept struct {
	until  map[jobspec.JobID]time.Time
	filled bool
}

// keepUntil notes a job that has ended.
func (s *Sidecar) keepUntil(j jobspec.Job) {
	if j.Fired != nil && j.State.Final() {
		s.schedules.Wake()
	}
	keep := s.keepTime(j)
	if keep <= 0 || !j.State.Final() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept.until == nil {
		s.kept.until = map[jobspec.JobID]time.Time{}
	}
	s.kept.until[j.ID] = j.Finished.Add(keep)
}

// keepTime is how long a job that has ended is kept, 0 for until it is removed.
//
// A task of another node's job is nobody's here to remove, so that it has a time
// of this node's own, or the spec's where that is shorter. It ends, and the time
// begins, only when its owner has taken the report in, with output and log
// fetched and pinned there, or does not want it: that is asked for as long as it
// takes. Its output here is then the second copy of the owner's, which counts
// until that job has ended: by its own total time at the latest, before which
// nothing goes. What goes later nobody counts on. Copies that this node was
// asked to hold, of that very output too, have pins of their own (see holder),
// which only their owner ends; stages and gangs read outputs and checkpoints
// that the owner has; and what is remembered here by its keys is forgotten with
// the record.
func (s *Sidecar) keepTime(j jobspec.Job) time.Duration {
	keep := j.Spec.Keep.Std()
	if j.Origin == nil {
		return keep
	}
	if keep <= 0 || keep > s.cfg.WorkKept {
		keep = s.cfg.WorkKept
	}
	total := min(j.Spec.Timeouts.Total, jobspec.MaxTimeout).Std()
	return max(keep, j.Submitted.Add(total).Sub(j.Finished))
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
