package sidecar

import (
	"context"
	"errors"

	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
)

// fetch brings what the job names and this node does not have, and pins it. It
// goes before the job's turn in preparation: a CID that nobody has takes its
// time to be missed, and keeps no other job waiting.
func (d *driver) fetch(ctx context.Context, job jobspec.Job) error {
	if code := job.Spec.Run.Code; code.Defined() {
		if err := d.fetchDAG(ctx, "code", code); err != nil {
			return at("run.code", err)
		}
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

// fetchDAG pins a DAG unless its root is here: then the preparer does.
func (d *driver) fetchDAG(ctx context.Context, what string, root jobspec.CID) error {
	here, err := d.cfg.IPFS.Has(ctx, root)
	if err != nil || here {
		return err
	}
	why := "waits for its " + what + " " + root.String() + ", which is not stored here"
	d.tellPull(why)
	defer d.tellPull("")
	d.note(ctx, jobspec.Event{Job: d.id, Type: jobspec.EventWait, Detail: why})
	return d.cfg.IPFS.Pin(ctx, pinName(d.id, what), root)
}

// refusal returns err when it is one that trying again does not mend.
func refusal(err error) error {
	var fe *jobspec.FailureError
	if errors.As(err, &fe) && fe.Failure.Kind != jobspec.KindInternal {
		return err
	}
	return nil
}
