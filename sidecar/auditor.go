package sidecar

import (
	"context"
	"slices"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
)

// auditAgain is how long a result is taken for whole that was read as a whole.
const auditAgain = 24 * time.Hour

// auditor reads the results of jobs again, one each Config.AuditEvery, and says
// in a job's record when its result cannot be given any more: as a disk has lost
// blocks, somebody took a pin off, or a Kubo came back with an empty repository.
func (s *Sidecar) auditor(ctx context.Context) {
	tick := time.NewTicker(s.cfg.AuditEvery)
	defer tick.Stop()
	var list []jobspec.JobID // still to be read in this round
	var began time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		again := auditAgain
		if s.unwell.Load() > 0 {
			again = 10 * s.cfg.AuditEvery
		}
		if len(list) == 0 && (began.IsZero() || time.Since(began) >= again) {
			var err error
			if list, err = s.results(ctx); err != nil {
				s.log.Warn("list results", "err", err)
			}
			began = time.Now()
		}
		if len(list) > 0 {
			s.reread(ctx, list[0])
			list = list[1:]
		}
	}
}

// results are the jobs that have one, those whose result was not whole first.
func (s *Sidecar) results(ctx context.Context) (list []jobspec.JobID, err error) {
	var bad []jobspec.JobID
	err = s.cfg.Store.View(ctx, func(tx *store.Tx) error {
		jobs, err := tx.Jobs(store.Filter{})
		for _, j := range jobs {
			switch {
			case j.Unavailable != "":
				bad = append(bad, j.ID)
			case j.State == jobspec.JobSucceeded && j.Result.Defined():
				list = append(list, j.ID)
			}
		}
		return err
	})
	s.unwell.Store(int64(len(bad)))
	return slices.Concat(bad, list), err
}

// reread reads a result. What is missing is fetched from whoever has it; what
// cannot be had, or is damaged, is noted in the job's record.
func (s *Sidecar) reread(ctx context.Context, id jobspec.JobID) {
	d := &driver{Sidecar: s, id: id}
	job, err := d.load(ctx)
	if err != nil || !job.Result.Defined() {
		return // it was removed
	}
	_, err = s.cfg.IPFS.Verify(ctx, job.Result)
	if err != nil && ctx.Err() == nil && !outside(err) {
		if perr := s.cfg.IPFS.Pin(ctx, pinName(id, "result"), job.Result); perr == nil {
			_, err = s.cfg.IPFS.Verify(ctx, job.Result)
		}
	}
	if ctx.Err() != nil || outside(err) {
		return
	}
	why := ""
	if err != nil {
		why = jobspec.AsFailure(err).Detail
	}
	if (why == "") == (job.Unavailable == "") {
		return
	}
	if why != "" {
		s.unwell.Add(1)
		s.log.Error("a result is not whole any more", "job", id, "result", job.Result, "err", err)
	}
	err = s.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		job, err := tx.Job(id)
		if err != nil {
			return err
		}
		job.Unavailable = why
		return tx.PutJob(job)
	})
	if err != nil && ctx.Err() == nil {
		s.log.Warn("note the audit of a result", "job", id, "err", err)
	}
	s.hub.notify(id)
}
