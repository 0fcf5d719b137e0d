package sidecar

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/internal/failpoint"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
)

// runTasks runs every task that is not done yet, stage after stage, and moves
// the job to publishing.
func (d *driver) runTasks(ctx context.Context, job jobspec.Job) (jobspec.Job, error) {
	var plan jobspec.Plan
	for {
		var attempts map[int][]jobspec.Attempt
		var err error
		if plan, attempts, err = d.planned(d.keep()); err != nil { // a stopped job has containers to stop
			return job, err
		}
		st := stageOf(job, plan.Planned()-1)
		now := attemptsOf(plan, st.index, attempts)
		plan = plan.Stage(st.index)
		d.done, d.pace = newTally(job, plan, now), newPace(d.cfg.BackupAfter, now)
		d.done.follow(attempts)
		if err := d.runStage(ctx, st, plan, attempts); err != nil || job.Origin != nil {
			return job, st.at(err)
		}
		if st.last() {
			break
		}
		if job, err = d.nextStage(ctx, job); err != nil {
			return job, err
		}
	}
	if len(plan.Tasks) == 1 { // the merge is nothing to wait for, unless it joins what is remembered
		result, err := d.result(ctx, job)
		if err != nil {
			return job, err
		}
		return d.succeed(ctx, job, result, nil, jobspec.JobPublishing, jobspec.JobPublished, jobspec.JobSucceeded)
	}
	return d.to(ctx, func(_ *store.Tx, j *jobspec.Job) error {
		j.ItemsDone = j.ItemsTotal
		return nil
	}, jobspec.JobPublishing)
}

// runStage runs the tasks of a stage that are not done yet. When one fails for
// good the others are stopped.
func (d *driver) runStage(ctx context.Context, st stage, plan jobspec.Plan, attempts map[int][]jobspec.Attempt) error {
	if st.Spec.Gang != nil && st.Origin == nil {
		return d.runGang(ctx, st, plan, attempts)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mu sync.Mutex
	var first error // that of a task, not of those that it stopped, now or before a restart
	stopped := func(err error) bool { return errors.Is(err, jobspec.KindStopped.Error()) }
	err := d.eachTask(st.Job, plan, func(task jobspec.Task) error {
		err := d.runTask(ctx, st, plan, task, attempts[task.Index])
		if err != nil {
			mu.Lock()
			if first == nil || stopped(first) && !stopped(err) {
				first = err
			}
			mu.Unlock()
			cancel(errSibling)
		}
		return err
	})
	if err != nil {
		return first
	}
	return nil
}

// eachTask calls run for all tasks, for each node's in their order, so many of
// them at once as keep it busy: nobody waits for another node's tasks.
func (d *driver) eachTask(job jobspec.Job, plan jobspec.Plan, run func(jobspec.Task) error) error {
	by := map[string][]jobspec.Task{}
	for _, t := range plan.Tasks {
		by[t.Holder] = append(by[t.Holder], t)
	}
	abreast := d.abreast(job)
	var all errgroup.Group
	for holder, tasks := range by {
		all.Go(func() error {
			var g errgroup.Group
			g.SetLimit(cmp.Or(abreast[holder], 64))
			for _, t := range tasks {
				g.Go(func() error { return run(t) })
			}
			return g.Wait()
		})
	}
	return all.Wait()
}

// abreast is how many of the job's tasks are given to each member at once: as
// many as it runs, and as many again that wait there, so that none of its slots
// is idle while this node hears of an end and answers. What waits there takes
// messages, and goes back when the member is lost.
func (d *driver) abreast(job jobspec.Job) map[string]int {
	most := map[string]int{}
	if d.hasCrew() {
		for _, p := range d.cfg.Crew.Live() {
			most[p.ID.String()] = 2 * max(2, job.Spec.Resources.Slots(p.Capacity))
		}
	}
	most[""] = max(64, d.placer.slots(job.Spec.Resources))
	return most
}

// planned returns the plan and each task's attempts so far, oldest first.
func (d *driver) planned(ctx context.Context) (plan jobspec.Plan, by map[int][]jobspec.Attempt, err error) {
	by = map[int][]jobspec.Attempt{}
	err = d.cfg.Store.View(ctx, func(tx *store.Tx) error {
		if plan, err = tx.Plan(d.id); err != nil {
			return err
		}
		all, err := tx.Attempts(d.id)
		for _, a := range all {
			by[a.ID.Task] = append(by[a.ID.Task], a)
		}
		return err
	})
	return plan, by, err
}

// attemptsOf leaves the attempts of one stage.
func attemptsOf(plan jobspec.Plan, stage int, all map[int][]jobspec.Attempt) map[int][]jobspec.Attempt {
	some := maps.Clone(all)
	maps.DeleteFunc(some, func(task int, _ []jobspec.Attempt) bool { return plan.StageOf(task) != stage })
	return some
}

// reported says whether the owner holds the attempt's receipt.
func reported(a jobspec.Attempt) bool {
	return a.State == jobspec.AttemptRecorded || a.State == jobspec.AttemptCleaned
}

// deciding returns of each task the attempt that counts of those that want
// selects: the last one, but none that failed once one has succeeded.
func deciding(all []jobspec.Attempt, want func(jobspec.Attempt) bool) map[int]jobspec.Attempt {
	by := map[int]jobspec.Attempt{}
	for _, a := range all {
		if had, ok := by[a.ID.Task]; want(a) && !(ok && succeeded(had) && !succeeded(a)) {
			by[a.ID.Task] = a
		}
	}
	return by
}

// gave limits attempts to those that left an output.
func gave(want func(jobspec.Attempt) bool) func(jobspec.Attempt) bool {
	return func(a jobspec.Attempt) bool { return a.Output.Defined() && want(a) }
}

// lease waits for the task's resources and writes the attempt that holds them.
func (r *runner) lease(ctx context.Context) error {
	// The node may have been started with less than it had at the submit, and
	// has not asked yet what its engine has for strict jobs.
	if r.wantsStrict(r.job.Spec) {
		if err := r.awaitStrict(ctx, func() error { return r.learnStrictFor(ctx, r.job.Spec) }); err != nil {
			return err
		}
	}
	if err := r.runsHere(r.job.Spec); err != nil {
		return err
	}
	failpoint.Hit(string(jobspec.AttemptLeased) + ".before-effect")
	if err := r.room(ctx); err != nil {
		return err
	}
	failpoint.Hit(string(jobspec.AttemptLeased) + ".after-effect")
	r.holds = true
	r.watch.lap(r.now(), waited)
	if err := r.grant(ctx, r.Sidecar.id); err != nil {
		r.holds = false
		r.placer.release(r.job.Spec.Resources)
		return err
	}
	r.setActive(1)
	return nil
}

// room waits for the task's resources. Those of another node's gang were
// reserved before it came.
func (r *runner) room(ctx context.Context) error {
	if o := r.job.Origin; o != nil && o.Peers != nil {
		if !r.sit(r.id) {
			return errNoSeat() // the node was killed in between
		}
		return nil
	}
	return r.placer.acquire(ctx, r.this, r.job.Spec.Resources, func(why string) { r.waits(ctx, why) })
}

// grant writes the attempt that a node is to make.
func (r *runner) grant(ctx context.Context, node identity.ID) error {
	peers := r.att.Peers
	if o := r.job.Origin; o != nil {
		peers = o.Peers
	}
	r.att = jobspec.Attempt{
		ID: r.this, Token: randomToken(), Node: node.String(),
		State: jobspec.AttemptLeased, Phases: r.watch.spent, Peers: peers,
	}
	err := r.persist(ctx, func(tx *store.Tx) error {
		if err := r.firstLease(tx); err != nil {
			return err
		}
		r.att.Leased = r.done.lease(r.now())
		return tx.PutAttempt(r.att)
	})
	if err != nil {
		return causeOr(ctx, fmt.Errorf("lease attempt %s: %w", r.this, err))
	}
	failpoint.Hit(string(jobspec.AttemptLeased) + ".after-completion")
	r.goes(r.this, node)
	r.hub.notify(r.id)
	return nil
}

// randomToken returns 128 random bits in hex.
func randomToken() string {
	token := make([]byte, 16)
	rand.Read(token) // never fails
	return hex.EncodeToString(token)
}

// firstLease moves a job that was queued to running.
func (d *driver) firstLease(tx *store.Tx) error {
	job, err := tx.Job(d.id)
	if err != nil || job.State != jobspec.JobQueued {
		return err
	}
	if job.State, err = job.State.To(jobspec.JobRunning); err != nil {
		return err
	}
	job.Started = d.now()
	return d.record(tx, job, jobspec.Event{Type: jobspec.EventState, Detail: string(job.State)})
}

// waits tells followers once why a job that has not started waits.
func (d *driver) waits(ctx context.Context, why string) {
	if d.setWaiting(why) {
		d.note(ctx, jobspec.Event{Job: d.id, Type: jobspec.EventWait, Detail: why})
	}
}

// setWaiting keeps the sentence for the API and reports whether it is the
// first one.
func (d *driver) setWaiting(why string) (first bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.active > 0 {
		return false
	}
	first = !d.everWaited
	d.waiting, d.everWaited = why, true
	return first
}

// setActive counts the tasks that hold resources; a job with any does not
// wait.
func (d *driver) setActive(by int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.active += by; d.active > 0 {
		d.waiting = ""
	}
}
