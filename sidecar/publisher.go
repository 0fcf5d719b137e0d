package sidecar

import (
	"context"
	"fmt"

	"github.com/ipdc/ipdc/internal/failpoint"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/merge"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
)

// publish merges the outputs of all tasks, pins the result and records it. The
// merge is a pure function of the outputs, so that doing it again after a
// crash gives the same CID under the same pin.
func (d *driver) publish(ctx context.Context, job jobspec.Job) (jobspec.Job, error) {
	failpoint.Hit(string(jobspec.JobPublished) + ".before-effect")
	roots, err := d.outputs(ctx, func(a jobspec.Attempt) bool { return reported(a) && a.Failure == nil })
	if err != nil {
		return job, err
	}
	result, err := d.merge(ctx, pinName(d.id, "result"), job.Spec.Merge, roots)
	if err != nil {
		return job, causeOr(ctx, at("merge", err))
	}
	return d.to(ctx, jobspec.JobPublished, func(_ *store.Tx, j *jobspec.Job) error {
		j.Result = result
		return nil
	})
}

// verify reads every block of the result again before the job is said to have
// succeeded.
func (d *driver) verify(job jobspec.Job) (jobspec.Job, error) {
	failpoint.Hit(string(jobspec.JobSucceeded) + ".before-effect")
	ctx := d.keep() // what is published is not stopped any more
	if _, err := d.cfg.IPFS.Verify(ctx, job.Result); err != nil {
		return job, at("result", err)
	}
	job, err := d.to(ctx, jobspec.JobSucceeded, nil)
	if err == nil {
		d.unpinInputs()
	}
	return job, err
}

// outputs returns the outputs of the attempts that want selects, in task
// order, behind what was remembered from earlier jobs.
func (d *driver) outputs(ctx context.Context, want func(jobspec.Attempt) bool) ([]jobspec.CID, error) {
	var roots []jobspec.CID
	pins, err := d.cfg.IPFS.Pins(ctx, pinName(d.id, "remembered"))
	if err != nil {
		return nil, fmt.Errorf("look up remembered outputs: %w", err)
	}
	for _, p := range pins {
		roots = append(roots, p.Root)
	}
	err = d.cfg.Store.View(ctx, func(tx *store.Tx) error {
		attempts, err := tx.Attempts(d.id)
		for _, a := range attempts {
			if a.Output.Defined() && want(a) {
				roots = append(roots, a.Output)
			}
		}
		return err
	})
	return roots, err
}

func (d *driver) merge(ctx context.Context, pin string, how jobspec.Merge, roots []jobspec.CID) (jobspec.CID, error) {
	return d.cfg.IPFS.Add(ctx, pin, func(w ipfs.Session) (jobspec.CID, error) {
		if how == jobspec.MergeShards {
			return merge.Shards(ctx, w, roots)
		}
		return merge.Union(ctx, w, roots)
	})
}

// partial pins what the tasks of a failed job wrote, as one tree; where they
// clash, as one folder per task. It returns no CID when there is nothing.
func (d *driver) partial(ctx context.Context, job jobspec.Job) (jobspec.CID, error) {
	if job.State == jobspec.JobAccepted {
		return jobspec.CID{}, nil
	}
	roots, err := d.outputs(ctx, reported)
	if err != nil || len(roots) == 0 {
		return jobspec.CID{}, err
	}
	pin := pinName(d.id, "partial")
	c, err := d.merge(ctx, pin, job.Spec.Merge, roots)
	if err != nil {
		c, err = d.merge(ctx, pin, jobspec.MergeShards, roots)
	}
	return c, err
}
