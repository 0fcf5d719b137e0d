package sidecar

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"

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
	result, err := d.result(ctx, job)
	if err != nil {
		return job, err
	}
	if d.recorded() { // the keepers hear of it when it is verified, and others hold it
		return d.succeed(ctx, job, result, nil, jobspec.JobPublished, jobspec.JobSucceeded)
	}
	return d.to(ctx, func(_ *store.Tx, j *jobspec.Job) error {
		j.Result = result
		return nil
	}, jobspec.JobPublished)
}

// result merges and pins what the job's tasks gave.
func (d *driver) result(ctx context.Context, job jobspec.Job) (jobspec.CID, error) {
	failpoint.Hit(string(jobspec.JobPublished) + ".before-effect")
	roots, err := d.outputs(ctx, job, succeeded)
	if err != nil {
		return jobspec.CID{}, err
	}
	c, err := d.merge(ctx, pinName(d.id, "result"), job.Spec.Merge, roots)
	if err == nil && len(roots.roots) > 1 {
		err = d.keepParts(ctx, stageOf(job, job.Spec.CountStages()-1), roots)
	}
	return c, causeOr(ctx, at("merge", err))
}

// keepParts pins the outputs of a stage's tasks as they are, for what is remembered of tasks
// as a whole and for Merge: a union, and more so a concatenation, does not hold
// their directories.
func (d *driver) keepParts(ctx context.Context, st stage, roots parts) error {
	if n := len(roots.roots); n == 0 || n == 1 && !byTask(st.Spec) || st.Spec.Merge == jobspec.MergeShards {
		return nil
	}
	_, err := d.merge(ctx, pinName(d.id, "outputs"), jobspec.MergeShards, roots)
	return err
}

// succeeded says whether the attempt is the one that its task ended with.
func succeeded(a jobspec.Attempt) bool { return reported(a) && a.Failure == nil }

// verify reads every block of the result again before the job is said to have
// succeeded.
func (d *driver) verify(job jobspec.Job) (jobspec.Job, error) {
	ctx := d.keep() // what is published is not stopped any more
	return d.succeed(ctx, job, job.Result, nil, jobspec.JobSucceeded)
}

// succeed verifies a pinned result and moves the job through states to its
// success, all in one transaction: a job that has nothing to wait for on this
// way needs no row for each of its steps: after a crash they are done again.
func (d *driver) succeed(ctx context.Context, job jobspec.Job, result jobspec.CID, change func(*store.Tx, *jobspec.Job) error, states ...jobspec.JobState) (jobspec.Job, error) {
	failpoint.Hit(string(jobspec.JobSucceeded) + ".before-effect")
	st, err := d.cfg.IPFS.Verify(ctx, result)
	if err != nil {
		return job, at("result", err)
	}
	putCopies, noted := d.copyResult(ctx, job, result, st.Bytes)
	defer noted()
	if slices.Contains(states, jobspec.JobPublished) {
		if err := d.settle(ctx, jobspec.JobSucceeded, result, ""); err != nil {
			return job, err
		}
		ctx = d.keep() // the domain knows of the success: nothing stops it here
	}
	done, err := d.to(ctx, func(tx *store.Tx, j *jobspec.Job) error {
		j.Result, j.ItemsDone = result, j.ItemsTotal
		if err := putCopies(tx); err != nil || change == nil {
			return err
		}
		return change(tx, j)
	}, states...)
	if err != nil {
		return job, err
	}
	d.unpinInputs(done)
	return done, nil
}

// parts are what tasks gave, in their order.
type parts struct {
	roots []jobspec.CID
	names []string // of the tasks, where they are a gang; else nil
}

// folders gives each part a folder by its name.
func (p parts) folders() []merge.File {
	files := make([]merge.File, len(p.roots))
	for i, root := range p.roots {
		files[i] = merge.File{Path: p.names[i], CID: root}
	}
	return files
}

// outputs returns the outputs of the attempts that want selects, of each task
// the last one, and those remembered from earlier jobs, in task order, behind
// what was remembered of single items. Of a job with stages it is the last stage
// that was begun.
func (d *driver) outputs(ctx context.Context, job jobspec.Job, want func(jobspec.Attempt) bool) (parts, error) {
	if len(job.Spec.Stages) > 0 || job.Spec.Gang != nil {
		plan, _, err := d.planned(ctx)
		if err != nil {
			return parts{}, err
		}
		return d.stageOutputs(ctx, stageOf(job, plan.Planned()-1), plan, want)
	}
	type part struct {
		task int // -1: of no task of its own
		root jobspec.CID
	}
	var list []part
	if job.Remembered > 0 {
		pins, err := d.cfg.IPFS.Pins(ctx, pinName(d.id, "remembered"))
		if err != nil {
			return parts{}, fmt.Errorf("look up remembered outputs: %w", err)
		}
		for _, p := range pins {
			task, err := strconv.Atoi(path.Base(p.Name))
			if err != nil {
				task = -1
			}
			list = append(list, part{task, p.Root})
		}
	}
	err := d.cfg.Store.View(ctx, func(tx *store.Tx) error {
		attempts, err := tx.Attempts(d.id)
		for task, a := range deciding(attempts, gave(want)) {
			list = append(list, part{task, a.Output})
		}
		return err
	})
	slices.SortStableFunc(list, func(a, b part) int { return a.task - b.task })
	roots := make([]jobspec.CID, len(list))
	for i, p := range list {
		roots[i] = p.root
	}
	return parts{roots: roots}, err
}

// merge pins the merged roots; the union of one directory is that directory.
func (s *Sidecar) merge(ctx context.Context, pin string, how jobspec.Merge, p parts) (jobspec.CID, error) {
	roots := p.roots
	if len(roots) == 1 && how != jobspec.MergeShards {
		return roots[0], s.cfg.IPFS.Pin(ctx, pin, roots[0])
	}
	return s.cfg.IPFS.Add(ctx, pin, func(w ipfs.Session) (jobspec.CID, error) {
		switch how {
		case jobspec.MergeShards:
			if p.names != nil {
				return merge.Files(ctx, w, p.folders())
			}
			return merge.Shards(ctx, w, roots)
		case jobspec.MergeConcat:
			return merge.Concat(ctx, w, roots)
		}
		return merge.Union(ctx, w, roots)
	})
}

// partial pins what the tasks of a failed job wrote in their last try, as one
// tree; where they clash, as one folder per task. It returns no CID when there
// is nothing.
func (d *driver) partial(ctx context.Context, job jobspec.Job) (jobspec.CID, error) {
	if job.State == jobspec.JobAccepted {
		return jobspec.CID{}, nil
	}
	roots, err := d.outputs(ctx, job, reported)
	if err != nil || len(roots.roots) == 0 {
		return jobspec.CID{}, err
	}
	plan, _, err := d.planned(ctx)
	if err != nil {
		return jobspec.CID{}, err
	}
	pin, st := pinName(d.id, "partial"), stageOf(job, plan.Planned()-1)
	c, err := d.merge(ctx, pin, st.Spec.Merge, roots)
	if err != nil {
		c, err = d.merge(ctx, pin, jobspec.MergeShards, roots)
	}
	if err != nil {
		return c, err
	}
	if roots, err = d.outputs(ctx, job, succeeded); err == nil {
		err = d.keepParts(ctx, st, roots)
	}
	return c, err
}
