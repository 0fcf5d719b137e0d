package sidecar

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/internal/failpoint"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/merge"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

// A task of another node's job is a job of this node's own, with one task and
// an Origin: it has a record, a driver and a place in line like any other, and
// goes on after a crash. Where others publish a result, it reports to its owner.

// originTenant is who such jobs belong to here.
func originTenant(owner string) string { return api.OwnerTenant(identity.ID(owner)) }

// readWork bounds the time to get what an assignment names.
const readWork = 20 * time.Second

// assigned takes on an attempt. Asked again, it gives the same answer, unless
// the attempt has ended: then nothing will come of it.
func (s *Sidecar) assigned(ctx context.Context, l bus.Letter, a wire.Assign) (wire.Assigned, error) {
	if _, err := jobspec.ParseAttemptID(a.Attempt); err != nil || a.Token == "" || a.Lease < jobspec.Duration(time.Second) {
		return wire.Assigned{}, jobspec.KindSpec.Errorf("assignment of attempt %.80q is malformed", a.Attempt)
	}
	owner := l.From.String()
	sub := api.Submission{Tenant: originTenant(owner), IdempotencyKey: a.Attempt + "/" + a.Token}
	ctx, cancel := context.WithTimeout(ctx, readWork)
	defer cancel()
	// It is asked again while the first answer is on its way: the second must
	// not find the seat of a gang's task taken by the first.
	unlock, err := s.taking.Lock(ctx, sub.Tenant+"/"+sub.IdempotencyKey)
	if err != nil {
		return wire.Assigned{}, err
	}
	defer unlock()
	known, err := s.knows(ctx, sub)
	if err != nil || known {
		return wire.Assigned{}, err
	}
	var w wire.Work
	if err := s.readJSON(ctx, a.Work, &w); err != nil {
		return wire.Assigned{}, fmt.Errorf("read work: %w", err)
	}
	_ = s.learnStrictFor(ctx, w.Spec) // the refusal says it
	job, err := s.foreign(w)
	if err != nil {
		return wire.Assigned{}, err
	}
	job.Tenant = sub.Tenant
	job.Origin = &jobspec.Origin{Owner: owner, Attempt: a.Attempt, Token: a.Token, Lease: a.Lease, Archive: w.Archive, Peers: w.Peers}
	if err := s.seatFor(l.From, job); err != nil {
		return wire.Assigned{}, err
	}
	created, err := s.takeOn(ctx, sub, job, w.Plan)
	if !created {
		s.stand(job)
	}
	return wire.Assigned{}, err
}

// knows says whether an attempt was assigned before. The error is of kind
// E_LEASE_LOST when it has ended.
func (s *Sidecar) knows(ctx context.Context, sub api.Submission) (known bool, err error) {
	var job jobspec.Job
	err = s.cfg.Store.View(ctx, func(tx *store.Tx) error {
		id, _, ok, err := tx.IdempotencyKey(sub.Tenant, sub.IdempotencyKey)
		if known = ok; err != nil || !known {
			return err
		}
		job, err = tx.Job(id)
		return err
	})
	if err == nil && known && job.State.Final() {
		err = leaseLost(job.Origin.Attempt)
	}
	return known, err
}

// foreign checks what another node wants run here, as a submit is checked, and
// that its keys are those of its content: its result will be remembered here.
func (s *Sidecar) foreign(w wire.Work) (jobspec.Job, error) {
	spec, c, err := s.admit(w.Spec, s.runsHere)
	if err != nil {
		return jobspec.Job{}, err
	}
	p := w.Plan
	if len(p.Tasks) != 1 || p.SpecCID != c || p.Image == "" || len(spec.Stages)+len(p.Stages) > 0 {
		return jobspec.Job{}, jobspec.KindSpec.Errorf("work is not one task of its spec")
	}
	if err := p.CheckTask(spec, p.Tasks[0]); err != nil {
		return jobspec.Job{}, err
	}
	if err := s.checkPeers(spec, p.Tasks[0], w.Peers); err != nil {
		return jobspec.Job{}, err
	}
	job := jobspec.Job{
		ID: jobspec.NewJobID(s.now()), Spec: spec, SpecCID: c,
		State: jobspec.JobAccepted, Submitted: s.now(), Uptime: jobspec.Duration(s.cfg.Uptime()), ItemsTotal: len(p.Tasks[0].Items),
	}
	return job, nil
}

// takeOn stores a job of another node and starts it, unless it is there already.
func (s *Sidecar) takeOn(ctx context.Context, sub api.Submission, job jobspec.Job, plan jobspec.Plan) (created bool, err error) {
	if s.stopping() {
		return false, errClosing
	}
	if err := s.open(ctx); err != nil {
		return false, err
	}
	failpoint.Hit("taken-on.before-effect")
	err = s.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		if _, used, err := s.byKey(tx, sub, job); err != nil || used {
			return err
		}
		created = true
		if err := s.accept(tx, sub, job); err != nil {
			return err
		}
		return tx.PutPlan(job.ID, plan)
	})
	failpoint.Hit("taken-on.after-completion")
	if created = created && err == nil; created {
		s.log.Info("job", "job", job.ID, "state", job.State, "owner", job.Origin.Owner, "attempt", job.Origin.Attempt)
		s.start(job.ID)
	}
	return created, err
}

// revoked ends an attempt that its owner does not want any more.
func (s *Sidecar) revoked(ctx context.Context, l bus.Letter, r wire.Revoke) {
	tenant := originTenant(l.From.String())
	err := s.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		id, _, ok, err := tx.IdempotencyKey(tenant, r.Attempt+"/"+r.Token)
		if err != nil || !ok {
			return err
		}
		job, err := tx.Job(id)
		if err != nil || job.State.Final() {
			return err
		}
		job.Stopping = true
		defer s.stopDriver(id, errStopped)
		return tx.PutJob(job)
	})
	if err != nil {
		s.log.Warn("revoke", "attempt", r.Attempt, "err", err)
	}
}

// gather brings what an assigned task needs, and pins it.
func (d *driver) gather(ctx context.Context, job jobspec.Job) (jobspec.Job, error) {
	plan, _, err := d.planned(ctx)
	if err != nil {
		return job, err
	}
	if err := d.sameImage(ctx, job, plan.Image); err != nil {
		return job, causeOr(ctx, err)
	}
	for what, c := range map[string]jobspec.CID{"code": job.Spec.Run.Code, "dependencies": plan.Dependencies} {
		if err := d.fetchDAG(ctx, what, c); err != nil {
			return job, causeOr(ctx, at(what, err))
		}
	}
	if p := job.Origin.Peers; p != nil {
		if err := d.fetchDAG(ctx, "checkpoint", p.Checkpoint); err != nil {
			return job, causeOr(ctx, at("checkpoint", err))
		}
	}
	if err := d.fetchShard(ctx, plan.Tasks[0]); err != nil {
		return job, causeOr(ctx, at("inputs[0]", err))
	}
	return d.to(ctx, nil, jobspec.JobQueued)
}

// sameImage makes sure that the very image is here, from an archive of it if
// the owner sent one.
func (d *driver) sameImage(ctx context.Context, job jobspec.Job, want jobspec.ImageID) error {
	img, err := d.cfg.Images.Resolve(ctx, job.Spec.Run.Image)
	if err == nil && img.ID == want {
		return nil
	}
	if img, err = d.cfg.Images.Resolve(ctx, string(want)); err == nil && img.ID == want {
		return nil
	}
	if c := job.Origin.Archive; c.Defined() {
		if err := d.fetchDAG(ctx, "image", c); err != nil {
			return at("run.image", err)
		}
		if img, err = d.loadImage(ctx, c); err == nil && img.ID == want {
			return nil
		}
	}
	if err != nil && !errors.Is(err, jobspec.KindImageRef.Error()) {
		return at("run.image", err)
	}
	return at("run.image", jobspec.KindImageGone.Errorf("image %s is not here", want))
}

// bringShard makes the input of a task of this node's own whole here: most are
// a part of what was pinned when the job was prepared.
func (r *runner) bringShard(ctx context.Context) error {
	if r.job.Origin != nil || !r.task.Shard.Defined() || r.st.near() {
		return nil // gathered, or nothing to bring
	}
	dealt := len(r.task.Items) > 0 && r.task.Shard != r.plan.Input && !r.job.Spec.Split.Shards()
	if dealt {
		return r.fetchShard(ctx, r.task)
	}
	pins, err := r.cfg.IPFS.Pins(ctx, pinName(r.id, "input"))
	if err != nil || len(pins) > 0 {
		return err
	}
	if r.task.Shard == r.plan.Input {
		return r.fetchDAG(ctx, "input", r.task.Shard)
	}
	return r.fetchShard(ctx, r.task)
}

// fetchShard pins the task's input. A shard of items is built here from their
// list, unless it is the job's whole input: no other node need have its
// directories.
func (d *driver) fetchShard(ctx context.Context, t jobspec.Task) error {
	if !t.Shard.Defined() {
		return nil
	}
	if len(t.Items) == 0 {
		return d.fetchDAG(ctx, fmt.Sprintf("shard/%d", t.Index), t.Shard)
	}
	pin := pinName(d.id, fmt.Sprintf("shard/%d", t.Index))
	build := func(w ipfs.Session) (jobspec.CID, error) {
		root, err := merge.Files(ctx, w, itemFiles(t.Items))
		if err == nil && root != t.Shard {
			err = jobspec.KindSpec.Errorf("items make the directory %s, not the shard %s", root, t.Shard)
		}
		return root, err
	}
	_, err := d.cfg.IPFS.Add(ctx, pin, build)
	if !errors.Is(err, jobspec.KindFetchTimeout.Error()) {
		return err
	}
	for i, it := range t.Items {
		if err := d.fetchDAG(ctx, fmt.Sprintf("item/%d-%d", t.Index, i), it.CID); err != nil {
			return err
		}
	}
	_, err = d.cfg.IPFS.Add(ctx, pin, build)
	return err
}

// beat tells the owner that the attempt lives, until ctx ends, and at once when
// now says so. When it is not wanted any more the work ends.
func (d *driver) beat(ctx context.Context, o jobspec.Origin, now <-chan struct{}) {
	owner, every, heard := ownerID(o), o.Lease.Std()/3, d.now()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-now:
		}
		job, ran, ready, left, err := d.ran(ctx)
		if err != nil {
			continue
		}
		once, cancel := context.WithTimeout(ctx, every)
		ans, err := bus.Request[wire.Beating](once, d.cfg.Post, owner, typeBeat, wire.Beat{
			Attempt: o.Attempt, Token: o.Token, ItemsDone: job.ItemsDone, Waiting: d.waitsFor(d.id), Ran: ran, Ready: ready, Checkpoint: left,
		})
		cancel()
		if err == nil {
			heard = d.now()
			d.gate.moves(ans.Open, ans.Over)
		} else if d.gate != nil && !d.gate.isOpen() && d.now().Sub(heard) > o.Lease.Std() {
			d.cancel(jobspec.KindLost.Errorf("its gang did not begin, and nothing was heard of its owner for %s", o.Lease))
		}
		if isLeaseLost(err) || err != nil && d.disowned(ctx, o) {
			d.log.Info("attempt is not wanted any more", "job", d.id, "attempt", o.Attempt)
			d.cancel(errStopped)
			return
		}
	}
}

// ran returns the job, for how long its program has run, as far as it does, and
// whether its container is made, and the newest checkpoint that it left.
func (d *driver) ran(ctx context.Context) (job jobspec.Job, ran jobspec.Duration, ready bool, left *jobspec.Checkpoint, err error) {
	err = d.cfg.Store.View(ctx, func(tx *store.Tx) error {
		if job, err = tx.Job(d.id); err != nil {
			return err
		}
		all, err := tx.Attempts(d.id)
		for _, a := range all {
			ready, left = a.Container != "", a.Checkpoint
			if end := a.Exited; !a.Started.IsZero() {
				if end.IsZero() {
					end = d.now()
				}
				ran = jobspec.Duration(max(end.Sub(a.Started), time.Millisecond))
			}
		}
		return err
	})
	return job, ran, ready, left, err
}

// serve is step for an assigned job: its task is run, and how that ended
// reported, before the job comes to its own end.
func (d *driver) serve(ctx context.Context, job jobspec.Job) (_ jobspec.Job, err error) {
	if job.State == jobspec.JobAccepted {
		next, err := d.gather(ctx, job)
		if err == nil || d.mayWait(err, false) && ctx.Err() == nil {
			return next, err
		}
		return d.delivered(ctx, job, err)
	}
	_, err = d.runTasks(ctx, job)
	if job, err = d.delivered(ctx, job, err); err != nil {
		return job, err
	}
	result, err := d.result(ctx, job)
	if err != nil {
		return job, err
	}
	return d.succeed(ctx, job, result, nil, jobspec.JobPublishing, jobspec.JobPublished, jobspec.JobSucceeded)
}

func ownerID(o jobspec.Origin) identity.ID { return identity.ID(o.Owner) }
