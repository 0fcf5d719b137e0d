package sidecar

import (
	"context"
	"fmt"
	"slices"

	"github.com/ipdc/ipdc/internal/failpoint"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
)

// Why a job's context ended, which becomes its Failure. errShutdown is another
// reason: it leaves the job as it is for the next Run.
var (
	errStopped = jobspec.Failure{Kind: jobspec.KindStopped, Where: "job", Detail: "stopped by its user"}.Error()
	errSibling = jobspec.Failure{Kind: jobspec.KindStopped, Where: "task", Detail: "stopped because another task of the job failed"}.Error()
	errOutrun  = jobspec.Failure{Kind: jobspec.KindLeaseLost, Where: "task", Detail: "another attempt of the task was first"}.Error()
)

// driver moves one job from the state it is in to a final one. There is one
// per job that is not final.
type driver struct {
	*Sidecar
	id     jobspec.JobID
	cancel context.CancelCauseFunc
	done   *tally
	pace   *pace
	dry    bool // it only looks: nothing is installed

	origin  *jobspec.Origin // of another member's task; set before work on it begins
	started func()          // called when a program begins; nil = nobody asks
	gate    *gate           // of a task of another node's gang; set before it is run. Guarded by Sidecar.mu until then

	moved   ipfs.Moved // for the job, outputs left out
	came    ipfs.Moved // outputs of what other members ran
	distant bool       // some of the input is not stored here, but perhaps at another member

	waiting    string // why nothing of it runs; guarded by Sidecar.mu
	everWaited bool   // likewise
	active     int    // tasks that hold resources; likewise
}

// start makes a driver for a job unless it has one. Jobs that are started
// while the node stops wait for the next Run.
func (s *Sidecar) start(id jobspec.JobID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.begun() != nil || s.drivers[id] != nil {
		return
	}
	if !s.rescued {
		s.early = append(s.early, id)
		return
	}
	ctx, cancel := context.WithCancelCause(s.base)
	d := &driver{Sidecar: s, id: id, cancel: cancel}
	s.drivers[id] = d
	s.work.Go(func() {
		defer cancel(nil)
		d.drive(ctx)
		s.mu.Lock()
		delete(s.drivers, id)
		s.mu.Unlock()
		s.hub.notify(id)
	})
}

// stopDriver cancels the work on a job with a cause.
func (s *Sidecar) stopDriver(id jobspec.JobID, cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.drivers[id]; d != nil {
		d.cancel(cause)
	}
}

// drive runs the job's steps until it is final or the node stops.
func (d *driver) drive(ctx context.Context) {
	job, err := d.load(d.keep())
	if err != nil {
		d.log.Error("load job", "job", d.id, "err", err)
		return
	}
	left := job.Spec.Timeouts.Total.Std() - d.elapsed(job.Submitted, job.Uptime)
	ctx, cancel := context.WithTimeoutCause(ctx, max(left, 0), jobspec.Failure{
		Kind: jobspec.KindTimeout, Where: "job",
		Detail: fmt.Sprintf("did not end within its total time of %s", job.Spec.Timeouts.Total),
		Hint:   "raise timeouts.total (--total-timeout), or ask for fewer resources so that it waits less",
	}.Error())
	defer cancel()
	if job.Stopping {
		d.cancel(errStopped)
	}
	ctx = ipfs.CountMoved(ctx, &d.moved)
	if o := job.Origin; o != nil {
		d.origin = o
		beating, end := context.WithCancel(ctx)
		defer end()
		now := make(chan struct{}, 1)
		d.started = func() {
			select {
			case now <- struct{}{}:
			default:
			}
		}
		defer d.stand(job)
		if o.Peers != nil {
			d.setGate()
		}
		d.work.Go(func() { d.beat(beating, *o, now) })
	}
	for waits := (await{}); !job.State.Final(); {
		next, err := d.step(ctx, job)
		if d.shuttingDown() {
			return
		}
		if ctx.Err() == nil && d.mayWait(err, job.State != jobspec.JobAccepted) {
			d.awaits(ctx, err, &waits)
			continue
		}
		waits = await{}
		if err != nil {
			if job.State != jobspec.JobPublished { // what is published is not stopped
				err = causeOr(ctx, err)
			}
			err = typed(err)
			next, err = d.failAtLast(job, err)
		}
		if err != nil {
			return // the node stops
		}
		job = next
	}
}

// step does the work of one state. A returned error ends the job.
func (d *driver) step(ctx context.Context, job jobspec.Job) (jobspec.Job, error) {
	if job.Origin != nil {
		return d.serve(ctx, job)
	}
	switch job.State {
	case jobspec.JobAccepted:
		return d.prepare(ctx, job)
	case jobspec.JobQueued, jobspec.JobRunning:
		return d.runTasks(ctx, job)
	case jobspec.JobPublishing:
		return d.publish(ctx, job)
	case jobspec.JobPublished:
		return d.verify(job)
	default:
		return job, fmt.Errorf("job %s is in unknown state %q", job.ID, job.State)
	}
}

func (d *driver) shuttingDown() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.base == nil || d.base.Err() != nil
}

// keep is a context for work that a stopped or late job still needs: it ends
// only with the node.
func (d *driver) keep() context.Context {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.base == nil {
		ctx, cancel := context.WithCancelCause(context.Background())
		cancel(errShutdown)
		return ctx
	}
	return d.base
}

func (d *driver) load(ctx context.Context) (job jobspec.Job, err error) {
	err = d.cfg.Store.View(ctx, func(tx *store.Tx) error {
		job, err = tx.Job(d.id)
		return err
	})
	return job, err
}

// movedAll is what came from other members for the job; nil for nothing.
func (d *driver) movedAll() *jobspec.Moved {
	content, nodes := d.moved.Bytes()
	out, above := d.came.Bytes()
	if content+nodes+out+above == 0 {
		return nil
	}
	return &jobspec.Moved{Content: jobspec.Bytes(content), Nodes: jobspec.Bytes(nodes), Outputs: jobspec.Bytes(out + above)}
}

// to moves the job to a state, or through several, in one durable transaction,
// with whatever else change does, and tells followers.
func (d *driver) to(ctx context.Context, change func(*store.Tx, *jobspec.Job) error, states ...jobspec.JobState) (job jobspec.Job, err error) {
	for _, state := range states {
		failpoint.Hit(string(state) + ".after-effect")
	}
	err = d.persist(ctx, func(tx *store.Tx) error {
		if job, err = tx.Job(d.id); err != nil {
			return err
		}
		events := make([]jobspec.Event, len(states))
		for i, state := range states {
			if job.State, err = job.State.To(state); err != nil {
				return err
			}
			events[i] = jobspec.Event{Type: jobspec.EventState, Detail: string(state)}
		}
		if job.Stopping && slices.Contains(states, jobspec.JobPublished) && !d.recorded() {
			return errStopped // it was said to be
		}
		if job.State.Final() {
			job.Finished, job.Moved = d.now(), d.movedAll()
		}
		if change != nil {
			if err := change(tx, &job); err != nil {
				return err
			}
		}
		if err := d.record(tx, job, events...); err != nil {
			return err
		}
		return putDeliveries(tx, job)
	})
	if err != nil {
		return job, fmt.Errorf("move job %s to %s: %w", d.id, states[len(states)-1], err)
	}
	for _, state := range states {
		failpoint.Hit(string(state) + ".after-completion")
		d.log.Info("job", "job", d.id, "state", state)
	}
	if job.State.Final() {
		d.metrics.jobEnded(job)
	}
	d.hub.notify(d.id)
	d.keepUntil(job)
	d.sendOff(job)
	return job, nil
}

// record writes the job and events of it.
func (s *Sidecar) record(tx *store.Tx, job jobspec.Job, events ...jobspec.Event) error {
	if err := tx.PutJob(job); err != nil {
		return err
	}
	for i := range events {
		events[i].Time = s.now()
	}
	return tx.AppendEvents(job.ID, events)
}

// note adds an event without changing the job.
func (s *Sidecar) note(ctx context.Context, e jobspec.Event) {
	e.Time = s.now()
	err := s.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.AppendEvent(e)
		return err
	})
	if err != nil && ctx.Err() == nil {
		s.log.Warn("record event", "job", e.Job, "err", err)
	}
	s.hub.notify(e.Job)
}
