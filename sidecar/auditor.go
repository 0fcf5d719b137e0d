package sidecar

import (
	"context"
	"errors"
	"fmt"
	"maps"
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

// auditFor bounds the reading of one result, and the fetching of what it misses:
// one that never ends keeps no other from being read.
const auditFor = time.Hour

// errAuditFor says that auditFor was too short.
var errAuditFor = fmt.Errorf("not done within %s", auditFor)

// auditor reads the results of jobs again, one each Config.AuditEvery, and says
// in a job's record when its result cannot be given any more: as a disk has lost
// blocks, somebody took a pin off, or a Kubo came back with an empty repository.
func (s *Sidecar) auditor(ctx context.Context) {
	tick := time.NewTicker(s.cfg.AuditEvery)
	defer tick.Stop()
	var left audits
	read := map[jobspec.JobID]time.Time{}
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if len(left.due) == 0 && n%auditRound == 0 {
			if err := s.results(ctx, read, &left); err != nil {
				s.log.Warn("list results", "err", err)
			}
		}
		if id, ok := left.next(n); ok {
			s.reread(ctx, id)
			read[id] = time.Now()
		}
	}
}

// audits are the jobs whose results are still to be read in a round.
type audits struct {
	due []jobspec.JobID
	bad []jobspec.JobID // were not whole: each may take long, so they have every second turn
}

// next takes out the one to read in a turn, if there is one.
func (a *audits) next(turn int) (id jobspec.JobID, ok bool) {
	from := &a.due
	if turn%2 == 1 && len(a.bad) > 0 {
		from = &a.bad
	}
	if len(*from) == 0 {
		return id, false
	}
	id, *from = (*from)[0], (*from)[1:]
	return id, true
}

// results lists the jobs whose results are to be read. Those that were not whole
// are listed once all of the last list had their turn. What is not there any more
// is taken out of read.
func (s *Sidecar) results(ctx context.Context, read map[jobspec.JobID]time.Time, left *audits) error {
	var due, bad []jobspec.JobID
	there := map[jobspec.JobID]bool{}
	err := s.cfg.Store.View(ctx, func(tx *store.Tx) error {
		jobs, err := tx.Jobs(store.Filter{})
		for _, j := range jobs {
			there[j.ID] = true
			switch {
			case j.Unavailable != "":
				bad = append(bad, j.ID)
			case j.State == jobspec.JobSucceeded && j.Result.Defined() && time.Since(read[j.ID]) >= auditAgain*s.cfg.AuditEvery:
				due = append(due, j.ID)
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	maps.DeleteFunc(read, func(id jobspec.JobID, _ time.Time) bool { return !there[id] })
	left.due = due
	if len(left.bad) == 0 {
		left.bad = bad
	}
	return nil
}

// inTime lets do take no longer than auditFor.
func inTime(ctx context.Context, do func(context.Context) error) error {
	once, cancel := context.WithTimeout(ctx, auditFor)
	defer cancel()
	err := do(once)
	if err != nil && once.Err() != nil && ctx.Err() == nil {
		return fmt.Errorf("%w: %w", errAuditFor, err)
	}
	return err
}

// reread reads a result. What is missing is fetched from whoever has it; what
// cannot be had, or is damaged, is noted in the job's record.
func (s *Sidecar) reread(ctx context.Context, id jobspec.JobID) {
	d := &driver{Sidecar: s, id: id}
	job, err := d.load(ctx)
	if err != nil || !job.Result.Defined() {
		return // it was removed
	}
	verify := func(ctx context.Context) error {
		_, err := s.cfg.IPFS.Verify(ctx, job.Result)
		return err
	}
	fetch := func(ctx context.Context) error { return s.cfg.IPFS.Pin(ctx, pinName(id, "result"), job.Result) }
	err = inTime(ctx, verify)
	if err != nil && ctx.Err() == nil && !outside(err) && !errors.Is(err, errAuditFor) && s.cfg.Check(ctx) == nil && inTime(ctx, fetch) == nil {
		err = inTime(ctx, verify)
	}
	if ctx.Err() != nil || outside(err) {
		return
	}
	if errors.Is(err, errAuditFor) { // neither whole nor not
		s.log.Warn("read a result again", "job", id, "result", job.Result, "err", err)
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
