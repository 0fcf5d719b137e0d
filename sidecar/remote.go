package sidecar

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

// away is an attempt that another node makes, as its owner waits for it.
type away struct {
	node  identity.ID
	token string
	beats chan wire.Beat   // holds one
	ends  chan jobspec.CID // holds one; the outcome's file
}

// assignFor bounds how long a member may take to accept an attempt.
const assignFor = 30 * time.Second

// attempt makes one try of the task: at the member that holds its input, or
// here when that one does not take it.
func (r *runner) attempt(ctx context.Context, try int) error {
	if node := r.chosen(); node != "" {
		taken, err := r.send(ctx, node, try)
		if err != nil || taken {
			return err
		}
	}
	if r.task.Shard != r.plan.Input && !r.job.Spec.Split.Shards() && r.job.Origin == nil {
		if err := r.fetchShard(ctx, r.task); err != nil {
			return causeOr(ctx, at("inputs[0]", err))
		}
	}
	if err := r.lease(ctx, try); err != nil {
		return err
	}
	return r.run(ctx)
}

// chosen is the member that the task goes to; "" = this node.
func (r *runner) chosen() identity.ID {
	holder := identity.ID(r.task.Holder)
	if holder == "" || holder == r.Sidecar.id || r.cfg.Post == nil || r.shunned[holder] {
		return ""
	}
	return holder
}

// elsewhere says whether the present attempt is another node's.
func (r *runner) elsewhere() bool { return r.att.Node != r.Sidecar.id.String() }

// errLacksImage says that a member needs the image's archive.
var errLacksImage = errors.New("the member lacks the image")

// send gives the attempt to a member and waits for its end. It reports false
// when the member did not take it; then nobody runs it. A member that lacks
// the image is asked again with an archive of it.
func (r *runner) send(ctx context.Context, node identity.ID, try int) (taken bool, err error) {
	taken, err = r.sendOnce(ctx, node, try)
	if !errors.Is(err, errLacksImage) {
		return taken, err
	}
	r.waits(ctx, fmt.Sprintf("task %d waits for its image, which %s lacks and is sent", r.task.Index, node.Short()))
	if r.archive, err = r.archiveImage(ctx); err != nil {
		return true, causeOr(ctx, at("run.image", err))
	}
	return r.sendOnce(ctx, node, try)
}

// archiveImage stores an archive of the job's image, once for all its tasks.
func (d *driver) archiveImage(ctx context.Context) (jobspec.CID, error) {
	plan, _, err := d.planned(ctx)
	if err != nil {
		return jobspec.CID{}, err
	}
	unlock, err := d.loading.Lock(ctx, d.id.String())
	if err != nil {
		return jobspec.CID{}, err
	}
	defer unlock()
	pin := pinName(d.id, "archive")
	if pins, err := d.cfg.IPFS.Pins(ctx, pin); err != nil || len(pins) > 0 {
		return firstRoot(pins), err
	}
	return d.cfg.IPFS.Add(ctx, pin, func(w ipfs.Session) (jobspec.CID, error) {
		c, _, err := d.packImage(ctx, w, plan.Image)
		return c, err
	})
}

func firstRoot(pins []ipfs.Pin) (c jobspec.CID) {
	if len(pins) > 0 {
		c = pins[0].Root
	}
	return c
}

func (r *runner) sendOnce(ctx context.Context, node identity.ID, try int) (bool, error) {
	id := jobspec.AttemptID{Job: r.id, Task: r.task.Index, Try: try}
	if err := r.grant(ctx, id, node); err != nil {
		return false, err
	}
	a := r.expect(node)
	defer r.forgetAway()
	err := r.assign(ctx, node)
	if err != nil {
		r.revoke(node)
		if ctx.Err() != nil {
			return true, errors.Join(context.Cause(ctx), r.abandonAway(context.Cause(ctx)))
		}
		r.shun(node)
		r.log.Info("member does not take the task", "attempt", id, "member", node.Short(), "err", err)
		r.waits(ctx, fmt.Sprintf("task %d goes elsewhere: %s does not take it: %s", r.task.Index, node.Short(), jobspec.AsFailure(err).Detail))
		return false, nil
	}
	r.setActive(1)
	defer r.setActive(-1)
	return true, r.follow(ctx, a)
}

// rejoin waits again for an attempt that a member makes, after a restart of
// this node.
func (r *runner) rejoin(ctx context.Context) error {
	a := r.expect(identity.ID(r.att.Node))
	defer r.forgetAway()
	r.setActive(1)
	defer r.setActive(-1)
	return r.follow(ctx, a)
}

func (r *runner) expect(node identity.ID) *away {
	a := &away{node: node, token: r.att.Token, beats: make(chan wire.Beat, 1), ends: make(chan jobspec.CID, 1)}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Sidecar.away[r.att.ID] = a
	return a
}

func (r *runner) forgetAway() {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.Sidecar.away, r.att.ID)
}

// shun keeps the task's later tries away from a member.
func (r *runner) shun(node identity.ID) {
	if r.shunned == nil {
		r.shunned = map[identity.ID]bool{}
	}
	r.shunned[node] = true
}

// assign asks the member to take the attempt.
func (r *runner) assign(ctx context.Context, node identity.ID) error {
	work, err := r.publishJSON(ctx, pinName(r.id, fmt.Sprintf("work/%d", r.task.Index)), r.order())
	if err != nil {
		return fmt.Errorf("store work: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, assignFor)
	defer cancel()
	_, err = bus.Request[wire.Assigned](ctx, r.cfg.Post, node, typeAssign, wire.Assign{
		Attempt: r.att.ID.String(), Token: r.att.Token, Lease: jobspec.Duration(r.cfg.Lease), Work: work,
	})
	return err
}

func (r *runner) order() wire.Work {
	plan := r.plan
	plan.Tasks = []jobspec.Task{r.task}
	return wire.Work{Spec: r.job.Spec, Plan: plan, Archive: r.archive}
}

// revoke tells the member that the attempt is not wanted. One that does not
// hear it learns it from the answer to its next beat.
func (r *runner) revoke(node identity.ID) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.keep()), 5*time.Second)
	defer cancel()
	if err := r.cfg.Post.Send(ctx, node, typeRevoke, wire.Revoke{Attempt: r.att.ID.String(), Token: r.att.Token}); err != nil {
		r.log.Debug("revoke", "attempt", r.att.ID, "member", node.Short(), "err", err)
	}
}

// follow waits for the attempt's report, for as long as the member gives signs
// of life.
func (r *runner) follow(ctx context.Context, a *away) error {
	lease := time.NewTimer(r.cfg.Lease)
	defer lease.Stop()
	for {
		select {
		case <-ctx.Done():
			if r.shuttingDown() {
				return errShutdown // the next process waits for it again
			}
			r.revoke(a.node)
			return errors.Join(context.Cause(ctx), r.abandonAway(context.Cause(ctx)))
		case b := <-a.beats:
			lease.Reset(r.cfg.Lease)
			if b.Waiting != "" {
				r.waits(ctx, fmt.Sprintf("task %d at %s %s", r.task.Index, a.node.Short(), b.Waiting))
			}
			r.progress(ctx, r.job, r.task.Index, b.ItemsDone, false)
		case c := <-a.ends:
			lease.Reset(r.cfg.Lease)
			err := r.takeIn(ctx, a, c)
			if err == nil || errors.Is(err, errLacksImage) {
				return err
			}
			if ctx.Err() == nil {
				r.log.Warn("report is not taken in", "attempt", r.att.ID, "member", a.node.Short(), "err", err)
			}
			var fe *jobspec.FailureError
			if errors.As(err, &fe) && fe.Failure.Kind != jobspec.KindInternal && fe.Failure.Kind != jobspec.KindFetchTimeout {
				r.revoke(a.node)
				r.shun(a.node)
				return r.abandonAway(jobspec.KindLost.Errorf("%s reported what does not hold: %s", a.node.Short(), fe.Failure.Detail))
			}
		case <-lease.C:
			r.revoke(a.node)
			r.shun(a.node)
			return r.abandonAway(jobspec.KindLost.Errorf("no sign of life of %s for %s", a.node.Short(), r.cfg.Lease))
		}
	}
}

// abandonAway gives up an attempt of another node.
func (r *runner) abandonAway(cause error) error {
	f := jobspec.AsFailure(cause)
	if f.Where == "" {
		f.Where = fmt.Sprintf("task %d", r.task.Index)
	}
	r.att.Failure = &f
	return r.save(jobspec.AttemptAbandoned)
}

// takeIn makes the member's outcome this node's record: what it says is checked
// against what was asked, its output is stored and pinned here too.
func (r *runner) takeIn(ctx context.Context, a *away, c jobspec.CID) error {
	var out wire.Outcome
	if err := r.readJSON(ctx, c, &out); err != nil {
		return err
	}
	if out.Receipt == nil {
		switch {
		case out.Failure == nil:
			return jobspec.KindSpec.Errorf("an outcome without a receipt and a failure")
		case out.Failure.Kind == jobspec.KindImageGone && !r.archive.Defined():
			return errLacksImage
		}
		r.shun(a.node) // it ran nothing
		return r.abandonAway(jobspec.KindLost.Errorf("%s could not run it: %s: %s", a.node.Short(), out.Failure.Kind, out.Failure.Detail))
	}
	if err := r.checkReceipt(a, *out.Receipt, out.Failure); err != nil {
		return err
	}
	rc := *out.Receipt
	if rc.Output.Defined() {
		if err := r.keepOutput(ctx, rc.Output); err != nil {
			return err
		}
	}
	if err := r.keepLog(ctx, out.Log); err != nil {
		r.log.Warn("log of another node", "attempt", r.att.ID, "err", err)
	}
	row := r.att
	row.Started, row.Exited, row.ExitCode, row.Output = rc.Started, rc.Exited, rc.ExitCode, rc.Output
	row.Receipt, row.Failure, row.NetIn, row.NetOut = &rc, out.Failure, rc.Usage.NetIn, rc.Usage.NetOut
	row.ItemsDone = min(out.ItemsDone, len(r.task.Items))
	row.ItemErrors = out.ItemErrors[:min(len(out.ItemErrors), maxItemErrors)]
	r.att = row
	r.outcome = outcomeFrom(r.task, out)
	if row.Output.Defined() && row.Failure == nil {
		var err error
		if r.outcome.memories, err = r.memories(ctx, r.outcome); err != nil {
			return err
		}
	}
	r.progress(ctx, r.job, r.task.Index, row.ItemsDone, true)
	return r.save(jobspec.AttemptRecorded)
}

// checkReceipt holds a receipt against the attempt it is for.
func (r *runner) checkReceipt(a *away, rc jobspec.Receipt, f *jobspec.Failure) error {
	if err := jobspec.VerifyReceipt(rc); err != nil {
		return err
	}
	var kind jobspec.Kind
	if f != nil {
		kind = f.Kind
	}
	for what, same := range map[string]bool{
		"worker": rc.Worker == a.node.String(), "attempt": rc.Attempt == r.att.ID.String() && rc.Token == a.token,
		"spec": rc.SpecCID == r.plan.SpecCID, "task": rc.TaskKey == r.task.Key && rc.Input == r.task.Shard,
		"image": rc.Image == r.plan.Image, "end": rc.Kind == kind && (kind != "" || rc.ExitCode == 0),
	} {
		if !same {
			return jobspec.KindSignature.Errorf("the receipt is for another %s", what)
		}
	}
	return nil
}

// keepOutput pins what the member wrote, within the bounds that hold for
// outputs here.
func (r *runner) keepOutput(ctx context.Context, c jobspec.CID) error {
	if err := r.cfg.IPFS.Pin(ctx, attemptPin(r.att.ID), c); err != nil {
		return fmt.Errorf("pin output: %w", err)
	}
	b := ipfs.Budget{Bytes: int64(r.job.Spec.Resources.Disk), Entries: 2 * r.cfg.Limits.files(r.job)}
	return tree.Walk(ctx, r.cfg.IPFS, c, b, func(tree.Entry) error { return nil })
}

func (r *runner) keepLog(ctx context.Context, c jobspec.CID) error {
	if !c.Defined() {
		return nil
	}
	if err := os.MkdirAll(r.logDir(r.id), 0o700); err != nil {
		return err
	}
	var b bytes.Buffer
	_, err := tree.Copy(ctx, r.cfg.IPFS, c, &b, ipfs.Budget{Bytes: maxLogFile})
	if err != nil {
		return err
	}
	return os.WriteFile(r.logFile(r.att.ID), b.Bytes(), 0o600)
}

// outcomeFrom is what a member said of each item.
func outcomeFrom(t jobspec.Task, out wire.Outcome) outcome {
	o := newReport("", t).out
	for _, it := range out.Items {
		if seen, ok := o.items[it.Path]; ok && seen == nil {
			o.done++
			o.items[it.Path] = &itemDone{outputs: it.Outputs, err: it.Error}
		}
	}
	return o
}

// beaten takes a sign of life.
func (s *Sidecar) beaten(_ context.Context, l bus.Letter, b wire.Beat) (wire.Beating, error) {
	a := s.awaited(l.From, b.Attempt, b.Token)
	if a == nil {
		return wire.Beating{}, leaseLost(b.Attempt)
	}
	select {
	case a.beats <- b:
	default: // an earlier one has not been read yet
	}
	return wire.Beating{}, nil
}

// reported takes the end of an attempt. The member asks again until it is in
// the record.
func (s *Sidecar) reported(ctx context.Context, l bus.Letter, p wire.Report) (wire.Reported, error) {
	id, err := jobspec.ParseAttemptID(p.Attempt)
	if err != nil {
		return wire.Reported{}, leaseLost(p.Attempt)
	}
	if a := s.awaited(l.From, p.Attempt, p.Token); a != nil {
		select {
		case a.ends <- p.Outcome:
		default:
		}
		return wire.Reported{}, nil
	}
	var att jobspec.Attempt
	err = s.cfg.Store.View(ctx, func(tx *store.Tx) (err error) {
		att, err = tx.Attempt(id)
		return err
	})
	switch {
	case errors.Is(err, jobspec.KindNotFound.Error()):
		return wire.Reported{}, leaseLost(p.Attempt)
	case err != nil:
		return wire.Reported{}, err
	case att.Token != p.Token || att.Node != l.From.String() || att.State == jobspec.AttemptAbandoned:
		return wire.Reported{}, leaseLost(p.Attempt)
	}
	return wire.Reported{Taken: reported(att)}, nil
}

// awaited returns the attempt that a member makes, or nil.
func (s *Sidecar) awaited(from identity.ID, attempt, token string) *away {
	id, err := jobspec.ParseAttemptID(attempt)
	if err != nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.away[id]; a != nil && a.node == from && a.token == token {
		return a
	}
	return nil
}
