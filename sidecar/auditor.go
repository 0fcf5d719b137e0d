package sidecar

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
)

// In ticks of Config.AuditEvery, by default a minute: after how many the jobs are
// looked through for results to read, and for how many one that was read is taken
// for whole.
const (
	auditRound = 60
	auditAgain = 24 * 60
)

// auditor reads the results of jobs again, one each Config.AuditEvery, and says
// in a job's record when its result cannot be given any more: as a disk has lost
// blocks, somebody took a pin off, or a Kubo came back with an empty repository.
func (s *Sidecar) auditor(ctx context.Context) {
	tick := time.NewTicker(s.cfg.AuditEvery)
	defer tick.Stop()
	var list []jobspec.JobID // still to be read in this round
	read := map[jobspec.JobID]time.Time{}
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if len(list) == 0 && n%auditRound == 0 {
			var err error
			if list, err = s.results(ctx, read); err != nil {
				s.log.Warn("list results", "err", err)
			}
		}
		if len(list) > 0 {
			s.reread(ctx, list[0])
			read[list[0]] = time.Now()
			list = list[1:]
		}
	}
}

// results are the jobs whose results are to be read, those that were not whole
// first. What is not there any more is taken out of read.
func (s *Sidecar) results(ctx context.Context, read map[jobspec.JobID]time.Time) (list []jobspec.JobID, err error) {
	var bad []jobspec.JobID
	there := map[jobspec.JobID]bool{}
	err = s.cfg.Store.View(ctx, func(tx *store.Tx) error {
		jobs, err := tx.Jobs(store.Filter{})
		for _, j := range jobs {
			there[j.ID] = true
			switch {
			case j.Unavailable != "":
				bad = append(bad, j.ID)
			case j.State == jobspec.JobSucceeded && j.Result.Defined() && time.Since(read[j.ID]) >= auditAgain*s.cfg.AuditEvery:
				list = append(list, j.ID)
			}
		}
		return err
	})
	maps.DeleteFunc(read, func(id jobspec.JobID, _ time.Time) bool { return !there[id] })
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
