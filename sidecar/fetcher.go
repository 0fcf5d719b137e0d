package sidecar

import (
	"context"
	"errors"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
)

// fetch brings what the job names and this node does not have, and pins it. It
// goes before the job's turn in preparation: a CID that nobody has takes its
// time to be missed, and keeps no other job waiting. A node that asks nobody
// leaves all of it to the preparer.
func (d *driver) fetch(ctx context.Context, job jobspec.Job) error {
	if !d.cfg.Fetches {
		return nil
	}
	run := job.Spec.Run
	if err := d.fetchDAG(ctx, "code", run.Code); err != nil {
		return at("run.code", err)
	}
	if err := d.fetchDAG(ctx, "requirements", run.Requirements); err != nil {
		return at("run.requirements", err)
	}
	for _, in := range job.Spec.Inputs {
		path, err := jobspec.ParsePath(in.CID)
		if err != nil {
			return at("inputs[0].cid", err)
		}
		root, err := tree.Resolve(ctx, d.cfg.IPFS, path.Root, path.Segments)
		if err == nil {
			err = d.fetchDAG(ctx, "input", root)
		}
		if err != nil {
			return at("inputs[0].cid", err)
		}
	}
	return nil
}

// fetchDAG pins a DAG, and says that the job, unless it is only planned, waits for
// it when its root is not here.
func (d *driver) fetchDAG(ctx context.Context, what string, root jobspec.CID) error {
	if !root.Defined() {
		return nil
	}
	here, err := d.cfg.IPFS.Has(ctx, root)
	if err != nil {
		return err
	}
	if !here && !d.dry {
		why := "waits for its " + what + " " + root.String() + ", which is not stored here"
		d.tellPull(why)
		defer d.tellPull("")
		d.note(ctx, jobspec.Event{Job: d.id, Type: jobspec.EventWait, Detail: why})
	}
	return d.inTime(ctx, func(ctx context.Context) error { return d.cfg.IPFS.Pin(ctx, pinName(d.id, what), root) })
}

// refusal returns err when it is one that trying again does not mend.
func refusal(err error) error {
	var fe *jobspec.FailureError
	if errors.As(err, &fe) && fe.Failure.Kind != jobspec.KindInternal && !errors.Is(err, executor.ErrNoEngine) {
		return err
	}
	return nil
}
