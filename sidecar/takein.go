package sidecar

import (
	"context"
	"fmt"
	"slices"

	"github.com/ipdc/ipdc/internal/failpoint"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
	"github.com/ipdc/ipdc/wire/guest"
)

// taken is a member's outcome as it will stand in this node's record.
type taken struct {
	row     jobspec.Attempt
	outcome outcome
	err     error
}

// takeIn reads and checks how an attempt ended at a member: what it says is held
// against what was asked, its output is stored and pinned here too. It changes
// no record, so that it can be cut off and done again.
func (r *runner) takeIn(ctx context.Context, a *away, c jobspec.CID) (t taken) {
	ctx = ipfs.CountMoved(ctx, &r.came)
	began := r.now()
	var out wire.Outcome
	if t.err = r.readJSON(ctx, c, &out); t.err != nil {
		return t
	}
	if out.Receipt == nil {
		t.err = r.notRun(a, out)
		return t
	}
	if t.err = r.checkReceipt(a, *out.Receipt, out.Failure); t.err != nil {
		return t
	}
	rc := *out.Receipt
	failpoint.Hit("taken-in.before-effect")
	if rc.Output.Defined() {
		if t.err = r.keepOutput(ctx, rc.Output); t.err != nil {
			return t
		}
	}
	failpoint.Hit("taken-in.after-effect")
	if err := r.keepLog(ctx, &a.tail, out.Log); err != nil {
		r.log.Warn("log of another node", "attempt", r.att.ID, "err", err)
	}
	r.takeCheckpoint(ctx, out.Checkpoint)
	t.row = r.att
	t.row.LogBytes, t.row.LogDropped = a.tail.close()
	t.row.Started, t.row.Exited, t.row.ExitCode, t.row.Output = rc.Started, rc.Exited, rc.ExitCode, rc.Output
	t.row.Receipt, t.row.Failure, t.row.NetIn, t.row.NetOut = &rc, out.Failure, rc.Usage.NetIn, rc.Usage.NetOut
	t.row.PeerIn, t.row.PeerOut = rc.Usage.PeerIn, rc.Usage.PeerOut
	if r.gate.isOver() {
		t.row.Failure = nil // its gang has succeeded
	}
	t.row.ItemsDone = min(out.ItemsDone, len(r.task.Items))
	t.row.ItemErrors = out.ItemErrors[:min(len(out.ItemErrors), maxItemErrors)]
	if guest.ValidCounters(out.Counters) {
		t.row.Counters = out.Counters
	}
	t.row.Phases = out.Phases
	// For the member, then there; never negative, which no record holds: a member may say anything.
	t.row.Phases.Waited = max(0, t.row.Phases.Waited+r.watch.spent.Waited)
	t.row.ItemsFailed = min(max(out.ItemsFailed, 0), len(r.task.Items))
	if len(r.task.Items) > 0 {
		if t.err = r.keepItems(ctx, out.Record); t.err != nil {
			return t
		}
		t.row.Items = out.Record
	}
	t.outcome = outcomeFrom(r.task, out)
	if rc.Output.Defined() {
		t.outcome.memories, t.err = r.memories(ctx, t.row, t.outcome)
	}
	t.row.Phases.Taken = max(0, jobspec.Duration(r.now().Sub(began)))
	return t
}

// notRun says what an outcome without a receipt means.
func (r *runner) notRun(a *away, out wire.Outcome) error {
	switch {
	case out.Failure == nil:
		return jobspec.KindSpec.Errorf("an outcome without a receipt and a failure")
	case out.Failure.Kind == jobspec.KindImageGone && !r.sentImage().Defined():
		return errLacksImage
	}
	return jobspec.KindLost.Errorf("%s could not run it: %s: %s", a.node.Short(), out.Failure.Kind, out.Failure.Detail)
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
		"image": rc.Image == r.plan.Image, "list of packages": slices.Equal(rc.Packages, r.plan.Packages),
		"end": rc.Kind == kind && (kind != "" || rc.ExitCode == 0),
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
