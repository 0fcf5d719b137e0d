package sidecar

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/internal/failpoint"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

var _ api.Service = (*Sidecar)(nil)

// Submit validates a spec against this node, stores it, and starts its driver.
func (s *Sidecar) Submit(ctx context.Context, sub api.Submission) (wire.Job, bool, error) {
	return s.submit(ctx, sub, "")
}

// submit is Submit for a job that another one needs.
func (s *Sidecar) submit(ctx context.Context, sub api.Submission, parent jobspec.JobID) (wire.Job, bool, error) {
	if first, ok, err := s.madeBefore(ctx, sub); ok || err != nil {
		return wire.Job{Job: first}, false, err
	}
	asked, use, err := s.resolveDataset(ctx, sub.Tenant, sub.Spec)
	if err != nil {
		return wire.Job{}, false, err
	}
	_ = s.learnStrictFor(ctx, asked) // the refusal says it
	spec, specCID, err := s.admit(asked, s.runsSomewhere(ctx))
	if err == nil {
		err = s.enough(ctx, spec)
	}
	if err == nil {
		err = s.permits(sub.Tenant, spec)
	}
	if err != nil {
		return wire.Job{}, false, err
	}
	if s.stopping() {
		return wire.Job{}, false, errClosing
	}
	job := jobspec.Job{
		ID: jobspec.NewJobID(s.now()), Tenant: sub.Tenant, Spec: spec, SpecCID: specCID, Parent: parent,
		State: jobspec.JobAccepted, Submitted: s.now(), Uptime: jobspec.Duration(s.cfg.Uptime()), Dataset: use,
	}
	if sub.Fired != nil {
		job.ID, job.Fired = sub.Fired.JobID(), sub.Fired
	}
	if sub.IdempotencyKey != "" && s.recorded() { // a second one waits until the keepers have the first
		unlock, err := s.entering.Lock(ctx, sub.Tenant+"/"+sub.IdempotencyKey)
		if err != nil {
			return wire.Job{}, false, err
		}
		defer unlock()
	}
	admit := s.open
	if parent != "" { // what a job here needs is made while the node drains, too
		admit = s.cfg.Admit
	}
	full := admit(ctx)
	failpoint.Hit(string(jobspec.JobAccepted) + ".before-effect")
	created := true
	err = s.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		if sub.IdempotencyKey != "" {
			first, used, err := s.byKey(tx, sub, job)
			if err != nil {
				return err
			}
			if created = !used; used {
				job = first
				return nil
			}
		}
		if full != nil {
			return full
		}
		err := s.accept(tx, sub, job)
		failpoint.Hit(string(jobspec.JobAccepted) + ".after-effect")
		return err
	})
	if err != nil {
		return wire.Job{}, false, fmt.Errorf("store job: %w", err)
	}
	failpoint.Hit(string(jobspec.JobAccepted) + ".after-completion")
	if created && parent == "" {
		if err := s.entered(ctx, &job, sub.IdempotencyKey); err != nil {
			return wire.Job{}, false, err
		}
	}
	if created {
		s.log.Info("job", "job", job.ID, "state", job.State, "tenant", job.Tenant, "name", job.Spec.Name)
		s.start(job.ID)
	}
	return wire.Job{Job: job}, created, nil
}

// admit completes a spec, or refuses what can never be run: here, or by any
// member, as runs says.
func (s *Sidecar) admit(spec jobspec.Spec, runs func(jobspec.Spec) error) (jobspec.Spec, jobspec.CID, error) {
	spec = spec.WithDefaults()
	if err := spec.Validate(); err != nil {
		return spec, jobspec.CID{}, err
	}
	if err := s.checkNetwork(spec); err != nil {
		return spec, jobspec.CID{}, err
	}
	if err := runs(spec); err != nil {
		return spec, jobspec.CID{}, err
	}
	c, err := spec.CID()
	return spec, c, err
}

// accept writes a new job, unless its tenant has too many already.
func (s *Sidecar) accept(tx *store.Tx, sub api.Submission, job jobspec.Job) error {
	live, err := tx.CountLive(job.Tenant)
	if err != nil {
		return err
	}
	if most := s.cfg.Limits.Jobs; live >= most && job.Parent == "" {
		return api.TooMany(jobspec.Failure{
			Kind: jobspec.KindLimit, Detail: fmt.Sprintf("%d jobs of %s have not ended, at most %d may wait and run", live, job.Tenant, most),
			Hint: "submit when some have ended, stop some, or raise the node's setting tenant-jobs",
		}, retryAfter)
	}
	err = s.record(tx, job, jobspec.Event{Type: jobspec.EventState, Detail: string(job.State)})
	if err != nil || sub.IdempotencyKey == "" {
		return err
	}
	named, err := askedFor(sub, job)
	if err != nil {
		return err
	}
	return tx.PutIdempotencyKey(sub.Tenant, sub.IdempotencyKey, job.ID, named)
}

// retryAfter is when to submit again to a full queue, in seconds.
const retryAfter = 10

// byKey returns the job that the idempotency key was used for first, if any.
func (s *Sidecar) byKey(tx *store.Tx, sub api.Submission, job jobspec.Job) (_ jobspec.Job, used bool, err error) {
	first, spec, used, err := tx.IdempotencyKey(sub.Tenant, sub.IdempotencyKey)
	if err != nil || !used {
		return job, false, err
	}
	asked, err := askedFor(sub, job)
	if err != nil {
		return job, true, err
	}
	if spec != asked && first != job.ID { // of one instant the first spec counts
		return job, true, jobspec.Failure{
			Kind: jobspec.KindDupKey, Detail: fmt.Sprintf("idempotency key %q was used for another spec, by job %s", sub.IdempotencyKey, first),
			Hint: "use a new key for a new spec",
		}.Error()
	}
	job, err = tx.Job(first)
	return job, true, err
}

// Stop makes the wish durable and then cancels the work. A job that is stopped
// is stopped; one that has a result, or has failed, is left as it is, and the
// error is of kind E_CONFLICT.
func (s *Sidecar) Stop(ctx context.Context, tenant, ref string) (j wire.Job, err error) {
	failpoint.Hit("stopping.before-effect")
	err = s.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		id, err := tx.FindJob(tenant, ref)
		if err != nil {
			return err
		}
		if j.Job, err = tx.Job(id); err != nil || j.State == jobspec.JobStopped {
			return err
		}
		if j.State.Final() || j.State == jobspec.JobPublished {
			f := jobspec.Failure{
				Kind: jobspec.KindConflict, Where: "job " + id.String(), Detail: "is " + string(j.State) + ": there is nothing to stop",
				Hint: "remove it with ipdc job rm " + id.String(),
			}
			if !j.State.Final() {
				f.Hint = "it has its result, and ends in a moment: ipdc job wait " + id.String()
			}
			return f.Error()
		}
		j.Stopping = true
		return tx.PutJob(j.Job)
	})
	failpoint.Hit("stopping.after-completion")
	if err == nil && !j.State.Final() {
		s.stopDriver(j.ID, errStopped)
		s.hub.notify(j.ID)
	}
	return j, s.orAtOwner(ctx, tenant, ref, err)
}

// Remove deletes the record of a final job. Its pins go with it; their blocks
// with the next collection.
func (s *Sidecar) Remove(ctx context.Context, tenant, ref string) error {
	var id jobspec.JobID
	failpoint.Hit("removed.before-effect")
	err := s.cfg.Store.Update(ctx, func(tx *store.Tx) (err error) {
		if id, err = tx.FindJob(tenant, ref); err != nil {
			return err
		}
		j, err := tx.Job(id)
		if err != nil {
			return err
		}
		if !j.State.Final() {
			return jobspec.Failure{
				Kind: jobspec.KindConflict, Where: "job " + id.String(), Detail: "is " + string(j.State),
				Hint: "stop it first: ipdc job stop " + id.String(),
			}.Error()
		}
		return tx.DeleteJob(id)
	})
	if err != nil {
		return err
	}
	failpoint.Hit("removed.after-completion")
	return s.dropKept(ctx, id)
}

// Node describes the node.
func (s *Sidecar) Node(ctx context.Context) (wire.Node, error) {
	n := s.cfg.Node
	n.ID, n.Capacity, n.Free = s.id.String(), s.cfg.Capacity, s.placer.snapshot()
	n.Outputs, n.Draining, n.Degraded = s.cfg.Volumes.Method(), s.Draining(), s.cfg.Degraded()
	if s.cfg.Busy != nil {
		n.Busy = s.cfg.Busy(0)
	}
	if s.cfg.Record != nil {
		n.Keepers = s.cfg.Record.Keepers()
	}
	s.mu.Lock()
	n.Jobs = len(s.drivers)
	s.mu.Unlock()
	n.Members = 1
	if s.cfg.Crew != nil {
		n.Members += len(s.cfg.Crew.Live())
	}
	n.Executors = s.executors(ctx)
	if err := s.cfg.Store.Check(ctx); err != nil {
		n.Problems = append(n.Problems, err.Error())
	}
	if err := s.cfg.Twin(); err != nil {
		n.Problems = append(n.Problems, jobspec.AsFailure(err).Detail)
	}
	st, err := s.cfg.IPFS.Stat(ctx)
	n.Blocks, n.BlockSize = st.Blocks, jobspec.Bytes(st.Bytes)
	if err == nil {
		n.Storage, err = s.cfg.Storage(ctx)
	}
	return n, err
}

// engineLook is how long an engine may take to say how it is: one that hangs
// keeps nobody from learning that.
const engineLook = 5 * time.Second

// executors describes what can run containers here, and what cannot now. Each is
// asked beside the others, so that one that hangs takes no time of theirs.
func (s *Sidecar) executors(ctx context.Context) []wire.Executor {
	ctx, cancel := context.WithTimeout(ctx, engineLook)
	defer cancel()
	members := s.members()
	list := make([]wire.Executor, len(members))
	var asked sync.WaitGroup
	for i, m := range members {
		asked.Go(func() {
			info, err := m.Info(ctx)
			list[i] = wire.Executor{Name: info.Name, Version: info.Version, Strict: info.Strict}
			if err != nil {
				list[i].Problem = err.Error()
			}
		})
	}
	asked.Wait()
	return list
}

func (s *Sidecar) members() []executor.Executor {
	if g, ok := s.cfg.Executor.(executor.Group); ok {
		return g.Members()
	}
	return []executor.Executor{s.cfg.Executor}
}

// GC removes blocks that no pin needs.
func (s *Sidecar) GC(ctx context.Context) (wire.Collected, error) {
	st, err := s.cfg.IPFS.GC(ctx)
	return wire.Collected{Blocks: st.Blocks, Bytes: jobspec.Bytes(st.Bytes)}, err
}

// Shutdown asks the node to stop.
func (s *Sidecar) Shutdown() {
	if s.cfg.Shutdown != nil {
		s.cfg.Shutdown()
	}
}

func (s *Sidecar) stopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Is(s.begun(), errShutdown)
}
