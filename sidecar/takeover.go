package sidecar

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/ipdc/ipdc/internal/failpoint"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

// tendTenures tells the keepers again and again that this node lives and what it
// owns, until ctx ends, and does what they say.
func (s *Sidecar) tendTenures(ctx context.Context) {
	every := s.cfg.Lease / 3
	began := time.Now()
	for {
		once, cancel := context.WithTimeout(ctx, max(every, time.Second))
		err := s.renew(once)
		cancel()
		// Without an answer the work goes on after a while. Only its end needs one.
		if err == nil || time.Since(began) > s.cfg.Lease && s.cfg.Twin() == nil {
			s.startUnsure()
		}
		wait := every
		switch {
		case errors.Is(err, errNobody):
			wait = min(every, time.Second) // nobody is asked
		case err != nil:
			s.log.Debug("the keepers do not answer", "err", err)
			wait = min(every, 5*time.Second)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// startUnsure goes on with the jobs of an earlier process.
func (s *Sidecar) startUnsure() {
	s.mu.Lock()
	jobs := s.unsure
	s.unsure = nil
	s.mu.Unlock()
	for _, id := range jobs {
		s.start(id)
	}
}

// errNobody says that there are not enough members for keepers.
var errNobody = errors.New("the domain has no keepers")

// renew gives a sign of life, and then enters jobs that the record lacks, and has
// the keepers hold what the others need, for as long as ctx lasts.
func (s *Sidecar) renew(ctx context.Context) error {
	if err := s.cfg.Twin(); err != nil { // it would be granted what the other one owns
		return err
	}
	k := s.cfg.Record.Keepers()
	if !k.Active() && len(s.cfg.Crew.Live()) < wire.MinKeepers-1 {
		return errNobody
	}
	var jobs []jobspec.Job
	err := s.cfg.Store.View(ctx, func(tx *store.Tx) (err error) {
		jobs, err = tx.Jobs(store.Filter{Live: true})
		return err
	})
	if err != nil {
		return err
	}
	var claims []wire.Claim
	var late []jobspec.Job
	needs := map[jobspec.JobID]jobspec.Spec{}
	for _, j := range jobs {
		switch {
		case j.Parent != "" || j.Origin != nil:
		case j.Tenure != nil && j.Tenure.Record == k.Record:
			claims = append(claims, wire.Claim{Job: j.ID, Epoch: j.Tenure.Epoch})
			needs[j.ID] = j.Spec
		case k.Active():
			late = append(late, j)
		}
	}
	own, lateOnes, err := s.claimSchedules(ctx, k, needs)
	if err != nil {
		return err
	}
	if err = s.renewAll(ctx, k, append(claims, own...)); err == nil {
		s.sureOfSchedules(k)
		s.startUnsure() // what follows may take long
	}
	for _, sch := range lateOnes {
		s.enterLateSchedule(ctx, sch)
	}
	rand.Shuffle(len(late), func(i, j int) { late[i], late[j] = late[j], late[i] }) // one that takes long does not keep out the others
	for _, j := range late {
		if ctx.Err() == nil {
			s.enterLate(ctx, j)
		}
	}
	if err == nil {
		s.entrustAgain(ctx, k, needs)
	}
	return err
}

// enterLate puts a job that was accepted when there were no keepers into the
// record.
func (s *Sidecar) enterLate(ctx context.Context, j jobspec.Job) {
	s.mu.Lock()
	driven := s.drivers[j.ID] != nil
	s.mu.Unlock()
	if !driven {
		return // its submit is at it
	}
	err := s.enter(ctx, &j, "")
	switch {
	case isLeaseLost(err):
		s.lose(jobspec.AsFailure(err), j.ID)
	case err != nil:
		s.log.Debug("job is not in the record yet", "job", j.ID, "err", err)
	}
}

func (s *Sidecar) renewAll(ctx context.Context, k wire.Keepers, claims []wire.Claim) error {
	r, err := s.cfg.Record.Renew(ctx, claims)
	if err != nil {
		return err
	}
	for _, e := range r.Lost {
		if s.lostSchedule(ctx, e) {
			continue
		}
		switch {
		case e.Owner == s.id && e.Over(), e.Owner == "": // it ended here, and its row comes; see settle
		case e.Owner == s.id:
			r.Granted = append(r.Granted, e) // again
		default:
			s.lose(superseded(e), e.Job)
		}
	}
	for _, e := range r.Granted {
		grant := s.granted
		if e.Schedule {
			grant = s.grantedSchedule
		}
		if err := grant(ctx, k.Record, e); err != nil && ctx.Err() == nil {
			s.log.Warn("take over a job", "job", e.Job, "epoch", e.Epoch, "err", err)
		}
	}
	return nil
}

// lose ends a job here that is another node's now.
func (s *Sidecar) lose(f jobspec.Failure, id jobspec.JobID) {
	s.log.Info("job is another node's now", "job", id, "why", f.Detail)
	s.start(id)
	s.stopDriver(id, f.Error())
}

func superseded(e wire.Recorded) jobspec.Failure {
	f := jobspec.Failure{
		Kind: jobspec.KindLeaseLost, Where: "job", Detail: fmt.Sprintf("%s owns this job now (epoch %d): it was handed on, or this node was not heard of for three leases", e.Owner, e.Epoch),
		Hint: "describe it there: ipdc job describe " + e.Job.String(),
	}
	if e.Over() {
		f.Detail += fmt.Sprintf("; it is %s there", e.State)
		if e.Result.Defined() {
			f.Detail += " with the result " + e.Result.String()
		}
	}
	return f
}

// notAcknowledged is what the record says of a job that was refused to its user
// in the end.
const notAcknowledged = "was not acknowledged"

// granted takes a job on that the record says is this node's.
func (s *Sidecar) granted(ctx context.Context, record string, e wire.Recorded) error {
	var job jobspec.Job
	err := s.cfg.Store.View(ctx, func(tx *store.Tx) (err error) {
		job, err = tx.Job(e.Job)
		return err
	})
	t := jobspec.Tenure{Record: record, Epoch: e.Epoch}
	switch {
	case errors.Is(err, jobspec.KindNotFound.Error()) && e.Epoch == 1: // it was refused to its user in the end
		return s.endRecorded(ctx, jobspec.Job{ID: e.Job, Tenure: &t}, jobspec.JobStopped, jobspec.CID{}, notAcknowledged)
	case errors.Is(err, jobspec.KindNotFound.Error()):
		return s.takeOver(ctx, e, t)
	case err != nil:
		return err
	case job.State.Final():
		job.Tenure = &t
		detail := ""
		if job.Failure != nil {
			detail = job.Failure.Detail
		}
		return s.endRecorded(ctx, job, job.State, job.Result, detail)
	case job.Tenure == nil || *job.Tenure != t:
		err := s.setTenure(ctx, e.Job, t, &job)
		if err == nil && job.Fired != nil {
			s.start(e.Job) // its submit did not hear of it
		}
		return err
	}
	return nil
}

// takeOver makes the job of an owner that is gone one of this node's own. What
// was done of it and is remembered here is not done again. A job that cannot
// be run here goes on to the next one.
func (s *Sidecar) takeOver(ctx context.Context, e wire.Recorded, t jobspec.Tenure) error {
	if err := checkRecorded(e); err != nil {
		return err
	}
	if err := s.cfg.Admit(ctx); err != nil {
		return err // it is asked for again with the next sign of life
	}
	var spec jobspec.Spec
	if err := s.readJSON(ctx, e.Spec, &spec); err != nil {
		return fmt.Errorf("read spec: %w", err)
	}
	spec, c, err := s.admit(spec, s.runsSomewhere(ctx))
	if err == nil && s.Draining() {
		err = errDraining()
	}
	if err == nil && c != e.SpecCID {
		err = jobspec.KindSpec.Errorf("the spec that the keepers hold has the CID %s, not %s", c, e.SpecCID)
	}
	if err != nil {
		return s.handOn(ctx, e, err)
	}
	job := jobspec.Job{
		ID: e.Job, Tenant: e.Tenant, Spec: spec, SpecCID: c, Tenure: &t, State: jobspec.JobAccepted, Submitted: e.At(), Fired: e.Fired,
	}
	before := e.Past[max(0, len(e.Past)-1):]
	failpoint.Hit("taken-over.before-effect")
	err = s.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		err := s.record(tx, job, jobspec.Event{Type: jobspec.EventState, Detail: string(job.State)},
			jobspec.Event{Type: jobspec.EventWait, Detail: fmt.Sprintf("taken over from %v, which is gone: epoch %d", before, e.Epoch)})
		if err != nil || e.Key == "" {
			return err
		}
		if _, _, used, err := tx.IdempotencyKey(e.Tenant, e.Key); err != nil || used {
			return err
		}
		return tx.PutIdempotencyKey(e.Tenant, e.Key, job.ID, job.SpecCID)
	})
	if err != nil {
		return err
	}
	failpoint.Hit("taken-over.after-completion")
	s.log.Info("job", "job", job.ID, "state", job.State, "epoch", e.Epoch, "from", before)
	s.start(job.ID)
	return nil
}

// PassJobs gives the jobs of this node to other members, as far as there are
// keepers who know of them, and returns how many went.
func (s *Sidecar) PassJobs(ctx context.Context) (passed int, err error) {
	if !s.recorded() {
		return 0, nil
	}
	var jobs []jobspec.Job
	err = s.cfg.Store.View(ctx, func(tx *store.Tx) (err error) {
		jobs, err = tx.Jobs(store.Filter{Live: true})
		return err
	})
	for _, j := range jobs {
		went, perr := s.passOn(ctx, j)
		if err = errors.Join(err, perr); went {
			passed++
		}
	}
	return passed, errors.Join(err, s.passSchedules(ctx))
}

// passOn gives a job of this node to another member, as a node does that
// leaves. It reports false where there are no keepers who could.
func (s *Sidecar) passOn(ctx context.Context, job jobspec.Job) (bool, error) {
	t := job.Tenure
	if t == nil || !s.recorded() || t.Record != s.cfg.Record.Keepers().Record || job.State.Final() {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.enterFor())
	defer cancel()
	if err := s.cfg.Record.Pass(ctx, wire.Claim{Job: job.ID, Epoch: t.Epoch}); err != nil {
		return false, err
	}
	f := jobspec.Failure{
		Kind: jobspec.KindLeaseLost, Where: "job", Detail: "was handed on to another member, as this node leaves",
		Hint: "it goes on there: ipdc job describe " + job.ID.String() + ", at any member",
	}
	s.lose(f, job.ID)
	return true, nil
}

// checkRecorded looks at what another member made up: names of files and rows
// come of it.
func checkRecorded(e wire.Recorded) error {
	odd := func(r rune) bool { return r < ' ' || r > '~' }
	if _, err := jobspec.ParseJobID(e.Job.String()); err != nil {
		return err
	}
	if e.Tenant == "" || len(e.Tenant) > maxTenant || strings.ContainsFunc(e.Tenant, odd) || len(e.Key) > maxKey || strings.ContainsFunc(e.Key, odd) {
		return jobspec.KindSpec.Errorf("job %s has the tenant %.80q and the idempotency key %.80q", e.Job, e.Tenant, e.Key)
	}
	return nil
}

const (
	maxTenant = 128 // bytes
	maxKey    = 128 // bytes
)

// handOn passes a job on that this node would never run; the last one that
// could have ends it.
func (s *Sidecar) handOn(ctx context.Context, e wire.Recorded, why error) error {
	s.log.Info("job cannot be run here", "job", e.Job, "err", why)
	err := s.cfg.Record.Pass(ctx, wire.Claim{Job: e.Job, Epoch: e.Epoch})
	if !errors.Is(err, jobspec.KindConflict.Error()) {
		return err
	}
	if s.Draining() {
		return why // it stays this node's, which may take it when it drains no more
	}
	return s.endRecorded(ctx, jobspec.Job{ID: e.Job, Tenure: &jobspec.Tenure{Epoch: e.Epoch}}, jobspec.JobFailed, jobspec.CID{},
		"its owner is gone, and no other member can run it: "+why.Error())
}
