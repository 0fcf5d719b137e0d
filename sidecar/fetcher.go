package sidecar

import (
	"context"
	"errors"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/ipfs"
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
	for _, st := range stagesOf(job) {
		if err := d.fetchTo(ctx, st.pin("code"), "code", st.Spec.Run.Code); err != nil {
			return st.at(at("run.code", err))
		}
		if err := d.fetchTo(ctx, st.pin("requirements"), "requirements", st.Spec.Run.Requirements); err != nil {
			return st.at(at("run.requirements", err))
		}
	}
	for _, in := range job.Spec.Inputs {
		path, err := jobspec.ParsePath(in.CID)
		if err != nil {
			return at("inputs[0].cid", err)
		}
		root, err := tree.Resolve(ctx, d.cfg.IPFS, path.Root, path.Segments)
		if err == nil && !d.hasCrew() && !in.Since.Defined() { // of that only what is new is needed
			err = d.fetchDAG(ctx, "input", root)
		}
		if err != nil {
			return at("inputs[0].cid", err)
		}
	}
	return nil
}

// hasCrew says whether there are other members whom the job's tasks may go to:
// then its input is not brought here before it is known where it lies.
func (d *driver) hasCrew() bool { return d.cfg.Crew != nil && len(d.cfg.Crew.Live()) > 0 }

// pinInput pins an input for the job. With other members it pins only what is
// stored here as a whole; the rest is fetched by those who run its tasks.
func (d *driver) pinInput(ctx context.Context, pin string, root jobspec.CID) error {
	s, ok := d.cfg.IPFS.(ipfs.StoredPinner)
	if !ok || !d.hasCrew() {
		return d.cfg.IPFS.Pin(ctx, pin, root)
	}
	err := s.PinStored(ctx, pin, root)
	if d.distant = errors.Is(err, jobspec.KindFetchTimeout.Error()); d.distant {
		return nil
	}
	return err
}

// fetchDAG is fetchTo with what the job calls it.
func (d *driver) fetchDAG(ctx context.Context, what string, root jobspec.CID) error {
	return d.fetchTo(ctx, pinName(d.id, what), what, root)
}

// fetchTo pins a DAG, and says that the job, unless it is only planned, waits for
// it when its root is not here.
func (d *driver) fetchTo(ctx context.Context, pin, what string, root jobspec.CID) error {
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
	return d.inTime(ctx, func(ctx context.Context) error { return d.cfg.IPFS.Pin(ctx, pin, root) })
}

// refusal returns err when it is one that trying again does not mend.
func refusal(err error) error {
	var fe *jobspec.FailureError
	if errors.As(err, &fe) && fe.Failure.Kind != jobspec.KindInternal && !errors.Is(err, executor.ErrNoEngine) {
		return err
	}
	return nil
}
