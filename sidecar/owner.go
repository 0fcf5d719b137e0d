package sidecar

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

// Record is the domain's record of jobs, which some of its members, the
// keepers, hold together: who owns which job, since which epoch. Package quorum
// has one. Each method but Keepers asks the keepers until ctx ends, which gives
// an error of kind E_NO_QUORUM.
type Record interface {
	// Keepers says who they are. While they are not Active nothing is recorded.
	Keepers() wire.Keepers
	// Enter puts a job of this node on the disks of a majority. It may be
	// called again, also after an error, which leaves open what was done.
	Enter(ctx context.Context, e wire.Recorded) error
	// End ends a job, or is refused with E_LEASE_LOST when another node owns
	// it now. E_NOT_FOUND: the record does not know it.
	End(ctx context.Context, x wire.Ending) error
	// Renew is a sign of life, and asks what was lost and granted.
	Renew(ctx context.Context, claims []wire.Claim) (wire.Renewed, error)
	// Pass gives a job to another member, or is refused with E_CONFLICT when
	// there is none.
	Pass(ctx context.Context, c wire.Claim) error
	// Find returns what is known of a job, or E_NOT_FOUND.
	Find(ctx context.Context, id jobspec.JobID) (wire.Recorded, error)
	// Over reports whether a job is over, or E_NOT_FOUND. A keeper answers it
	// by itself.
	Over(ctx context.Context, id jobspec.JobID) (bool, error)
}

// enterFor bounds how long a submit waits for the keepers: they may have to
// choose a leader first.
func (s *Sidecar) enterFor() time.Duration { return min(20*time.Second, 4*s.cfg.Lease) }

// recorded reports whether the keepers are to know of jobs.
func (s *Sidecar) recorded() bool { return s.cfg.Record != nil && s.cfg.Record.Keepers().Active() }

// entered puts a new job into the record, or takes it back: it was not
// acknowledged then.
func (s *Sidecar) entered(ctx context.Context, job *jobspec.Job, key string) error {
	if !s.recorded() {
		return nil
	}
	err := s.enter(ctx, job, key)
	if err == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if derr := s.cfg.Store.Update(ctx, func(tx *store.Tx) error { return tx.DeleteJob(job.ID) }); derr != nil {
		s.log.Warn("take back a job that the keepers do not have", "job", job.ID, "err", derr)
	}
	return fmt.Errorf("the job was not taken: %w", err)
}

// enter has a majority of the keepers hold what the job needs, then puts it into
// the record, and notes that here.
func (s *Sidecar) enter(ctx context.Context, job *jobspec.Job, key string) error {
	ctx, cancel := context.WithTimeout(ctx, s.enterFor())
	defer cancel()
	spec, err := s.publishJSON(ctx, pinName(job.ID, "spec"), job.Spec)
	if err != nil {
		return fmt.Errorf("store spec: %w", err)
	}
	k := s.cfg.Record.Keepers()
	if err := s.entrust(ctx, k, *job, spec); err != nil {
		return err
	}
	err = s.cfg.Record.Enter(ctx, wire.Recorded{
		Job: job.ID, Tenant: job.Tenant, Key: key, SpecCID: job.SpecCID, Spec: spec,
		Submitted: job.Submitted.UnixMilli(), Owner: s.id, Epoch: 1,
	})
	if err != nil {
		return err
	}
	return s.setTenure(ctx, job.ID, jobspec.Tenure{Record: k.Record, Epoch: 1}, job)
}

// setTenure notes by what this node owns a job.
func (s *Sidecar) setTenure(ctx context.Context, id jobspec.JobID, t jobspec.Tenure, job *jobspec.Job) error {
	return s.cfg.Store.Update(ctx, func(tx *store.Tx) (err error) {
		if *job, err = tx.Job(id); err != nil {
			return err
		}
		job.Tenure = &t
		return tx.PutJob(*job)
	})
}

// settle makes the end of a job known to the keepers, before it is written here:
// it waits until a majority has it. When they refuse it the job is another
// node's, and nothing of it is published here.
func (d *driver) settle(ctx context.Context, state jobspec.JobState, result jobspec.CID, detail string) error {
	if !d.recorded() {
		return nil
	}
	for tries := 1; ; tries++ {
		job, err := d.load(d.keep())
		if err != nil {
			return err
		}
		k := d.cfg.Record.Keepers()
		if job.Tenure == nil || job.Tenure.Record != k.Record || !k.Active() {
			return nil
		}
		err = d.endRecorded(ctx, job, state, result, detail)
		if errors.Is(err, jobspec.KindNotFound.Error()) && job.Tenure.Epoch == 1 { // most keepers were lost, and with them this
			err = d.enter(ctx, &job, "")
		} else if err == nil || isLeaseLost(err) {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			d.log.Warn("the keepers do not hear of a job's end", "job", d.id, "state", state, "try", tries, "err", err)
			d.setWaiting("waits for the keepers of the domain's jobs: " + jobspec.AsFailure(err).Detail)
			pause(ctx, tries)
		}
	}
}

func (s *Sidecar) endRecorded(ctx context.Context, job jobspec.Job, state jobspec.JobState, result jobspec.CID, detail string) error {
	ctx, cancel := context.WithTimeout(ctx, s.enterFor())
	defer cancel()
	return s.cfg.Record.End(ctx, wire.Ending{
		Claim: wire.Claim{Job: job.ID, Epoch: job.Tenure.Epoch}, State: state, Result: result, Detail: detail[:min(len(detail), 1024)],
	})
}

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
		if err == nil || time.Since(began) > s.cfg.Lease {
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

func (s *Sidecar) renew(ctx context.Context) error {
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
	for _, j := range jobs {
		switch {
		case j.Parent != "" || j.Origin != nil:
		case j.Tenure != nil && j.Tenure.Record == k.Record:
			claims = append(claims, wire.Claim{Job: j.ID, Epoch: j.Tenure.Epoch})
		case k.Active():
			s.enterLate(ctx, j)
		}
	}
	if len(claims) == 0 {
		claims = make([]wire.Claim, 0, 1)
		return s.renewSome(ctx, k, claims)
	}
	for part := range slices.Chunk(claims, wire.MaxClaims) {
		err = errors.Join(err, s.renewSome(ctx, k, part))
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

func (s *Sidecar) renewSome(ctx context.Context, k wire.Keepers, claims []wire.Claim) error {
	r, err := s.cfg.Record.Renew(ctx, claims)
	if err != nil {
		return err
	}
	for _, e := range r.Lost {
		if e.Owner == "" { // see settle
			continue
		}
		s.lose(superseded(e), e.Job)
	}
	for _, e := range r.Granted {
		if err := s.granted(ctx, k.Record, e); err != nil && ctx.Err() == nil {
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
		Kind: jobspec.KindLeaseLost, Where: "job", Detail: fmt.Sprintf("%s owns this job now (epoch %d): this node was not heard of for three leases", e.Owner, e.Epoch),
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
		return s.endRecorded(ctx, jobspec.Job{ID: e.Job, Tenure: &t}, jobspec.JobStopped, jobspec.CID{}, "was not acknowledged")
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
		return s.setTenure(ctx, e.Job, t, &job)
	}
	return nil
}

// takeOver makes the job of an owner that is gone one of this node's own. What
// was done of it and is remembered here is not done again. A job that cannot
// be run here goes on to the next one.
func (s *Sidecar) takeOver(ctx context.Context, e wire.Recorded, t jobspec.Tenure) error {
	var spec jobspec.Spec
	if err := s.readJSON(ctx, e.Spec, &spec); err != nil {
		return fmt.Errorf("read spec: %w", err)
	}
	spec, c, err := s.admit(spec, s.runsSomewhere)
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
		ID: e.Job, Tenant: e.Tenant, Spec: spec, SpecCID: c, Tenure: &t, State: jobspec.JobAccepted, Submitted: e.At(),
	}
	before := e.Past[max(0, len(e.Past)-1):]
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
	return passed, err
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

// handOn passes a job on that this node would never run; the last one that
// could have ends it.
func (s *Sidecar) handOn(ctx context.Context, e wire.Recorded, why error) error {
	s.log.Info("job cannot be run here", "job", e.Job, "err", why)
	err := s.cfg.Record.Pass(ctx, wire.Claim{Job: e.Job, Epoch: e.Epoch})
	if !errors.Is(err, jobspec.KindConflict.Error()) {
		return err
	}
	return s.endRecorded(ctx, jobspec.Job{ID: e.Job, Tenure: &jobspec.Tenure{Epoch: e.Epoch}}, jobspec.JobFailed, jobspec.CID{},
		"its owner is gone, and no other member can run it: "+why.Error())
}

// disowned says whether the owner of a task that does not answer owns the job
// no more. While the keepers do not answer either, the task goes on.
func (s *Sidecar) disowned(ctx context.Context, o jobspec.Origin) bool {
	id, err := jobspec.ParseAttemptID(o.Attempt)
	if err != nil || !s.recorded() {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, findFor)
	defer cancel()
	e, err := s.cfg.Record.Find(ctx, id.Job)
	return err == nil && (e.Over() || e.Owner.String() != o.Owner)
}

// orAtOwner turns err, that a job is not here, into one that says who owns it.
func (s *Sidecar) orAtOwner(ctx context.Context, tenant, ref string, err error) error {
	if !errors.Is(err, jobspec.KindNotFound.Error()) {
		return err
	}
	if j, ok := s.inRecord(ctx, tenant, ref); ok {
		return atOwner(j)
	}
	return err
}

func atOwner(j wire.Job) error {
	return jobspec.Failure{
		Kind: jobspec.KindNotFound, Where: "job " + j.ID.String(), Detail: j.Recorded.Owner.String() + " owns it, not this node",
		Hint: "ask there; `ipdc job describe " + j.ID.String() + "` shows its state and result here",
	}.Error()
}

// findFor bounds a question about a job.
const findFor = 5 * time.Second

// inRecord is what the keepers know of a job that this node does not own.
func (s *Sidecar) inRecord(ctx context.Context, tenant, ref string) (wire.Job, bool) {
	id, err := jobspec.ParseJobID(ref)
	if err != nil || !s.recorded() {
		return wire.Job{}, false
	}
	ctx, cancel := context.WithTimeout(ctx, findFor)
	defer cancel()
	e, err := s.cfg.Record.Find(ctx, id)
	if err != nil || e.Tenant != tenant {
		return wire.Job{}, false
	}
	j := wire.Job{Recorded: &e, Member: e.Owner.String()}
	j.ID, j.Tenant, j.SpecCID, j.Submitted, j.Result = e.Job, e.Tenant, e.SpecCID, e.At(), e.Result
	if j.State = e.State; !e.Over() {
		j.State = jobspec.JobAccepted
		j.Waiting = "is worked on by " + e.Owner.String()
	}
	if e.Detail != "" {
		j.Failure = &jobspec.Failure{Kind: jobspec.KindLost, Detail: e.Detail, Hint: "more of it is known to " + e.Owner.String()}
	}
	return j, true
}
