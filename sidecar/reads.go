package sidecar

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/merge"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
)

// readSides looks up the results of earlier stages that the tasks see besides.
func (d *driver) readSides(ctx context.Context, st *stage, plan jobspec.Plan) error {
	for _, name := range st.whole.Stages[st.index].Side {
		root, err := d.stageResult(ctx, stageOf(d.jobOf(*st), st.whole.StageIndex(name)), plan)
		if err != nil {
			return err
		}
		if st.side == nil {
			st.side = map[string]jobspec.CID{}
		}
		st.side[name] = root
	}
	return nil
}

// jobOf is the job that a stage is of.
func (d *driver) jobOf(st stage) jobspec.Job {
	job := st.Job
	job.Spec = st.whole
	return job
}

// readStage makes what a stage reads of an earlier one.
func (d *driver) readStage(ctx context.Context, st *stage, plan jobspec.Plan, f *jobspec.Facts) (err error) {
	from := stageOf(d.jobOf(*st), st.whole.StageIndex(st.whole.Stages[st.index].Needs[0]))
	if k := st.whole.PartsOf(st.index); k > 0 {
		return d.partition(ctx, *st, from, plan, k, f)
	}
	if f.Input, err = d.stageResult(ctx, from, plan); err != nil {
		return err
	}
	st.Spec = st.Spec.Reading(f.Input)
	return d.divide(ctx, *st, f)
}

// partition makes a directory of links for each partition of an earlier stage.
func (d *driver) partition(ctx context.Context, st, from stage, plan jobspec.Plan, k int, f *jobspec.Facts) error {
	roots, err := d.stageOutputs(ctx, from, plan, succeeded)
	if err != nil {
		return err
	}
	return d.keepShards(ctx, st, f, func(w ipfs.Session) ([]jobspec.Shard, error) {
		parts, err := merge.Partitions(ctx, w, roots.roots, k)
		if err != nil {
			return nil, from.ofTask(err, plan)
		}
		shards := make([]jobspec.Shard, k)
		for j, p := range parts {
			shards[j] = jobspec.Shard{CID: p.CID, Bytes: p.Bytes}
			if shards[j].CID, err = st.layOut(ctx, w, p.CID, ""); err != nil {
				return nil, err
			}
		}
		return shards, nil
	})
}

// ofTask says in which stage an error about one of its outputs came up.
func (st stage) ofTask(err error, plan jobspec.Plan) error {
	f := jobspec.AsFailure(err)
	var n int
	if _, serr := fmt.Sscanf(f.Where, "task %d", &n); serr == nil {
		f.Where = fmt.Sprintf("task %d", plan.Stages[st.index].First+n)
	}
	return st.at(f.Error())
}

// layOutWhole makes what the one task of a stage that is not divided sees.
func (d *driver) layOutWhole(ctx context.Context, st stage, f *jobspec.Facts) error {
	bytes, shard := f.Bytes, f.Input
	return d.keepShards(ctx, st, f, func(w ipfs.Session) ([]jobspec.Shard, error) {
		var err error
		if !shard.Defined() {
			if shard, err = merge.Files(ctx, w, nil); err != nil {
				return nil, err
			}
		}
		root, err := st.layOut(ctx, w, shard, "")
		return []jobspec.Shard{{CID: root, Bytes: bytes}}, err
	})
}

// stageResult merges and pins what the tasks of a stage gave.
func (d *driver) stageResult(ctx context.Context, st stage, plan jobspec.Plan) (jobspec.CID, error) {
	roots, err := d.stageOutputs(ctx, st, plan, succeeded)
	if err != nil {
		return jobspec.CID{}, err
	}
	c, err := d.merge(ctx, st.pin("result"), st.Spec.Merge, roots)
	return c, st.at(at("merge", err))
}

// keepStage pins what the tasks of a stage gave, as long as the job's record is
// there: its memory relies on that.
func (d *driver) keepStage(ctx context.Context, st stage, plan jobspec.Plan) error {
	roots, err := d.stageOutputs(ctx, st, plan, succeeded)
	if err == nil {
		_, err = d.merge(ctx, st.pin("outputs"), jobspec.MergeShards, roots)
	}
	return st.at(err)
}

// stageOutputs returns what the tasks of a stage gave, in their order, behind
// what was remembered of single items.
func (d *driver) stageOutputs(ctx context.Context, st stage, plan jobspec.Plan, want func(jobspec.Attempt) bool) (parts, error) {
	by := map[int]jobspec.CID{}
	err := d.cfg.Store.View(ctx, func(tx *store.Tx) error {
		attempts, err := tx.Attempts(d.id)
		for task, a := range deciding(st.lastGeneration(plan, attempts), gave(want)) {
			if plan.StageOf(task) == st.index {
				by[task] = a.Output
			}
		}
		return err
	})
	for _, k := range plan.Kept {
		if k.Stage == st.index {
			by[k.Index] = k.Output
		}
	}
	var out parts
	if st.staged() && plan.Stages[st.index].Items.Defined() {
		out.roots = append(out.roots, plan.Stages[st.index].Items)
	}
	for _, task := range slices.Sorted(maps.Keys(by)) {
		out.roots = append(out.roots, by[task])
	}
	if st.Spec.Gang != nil {
		for _, t := range plan.Tasks {
			if by[t.Index].Defined() {
				out.names = append(out.names, t.Name)
			}
		}
	}
	return out, err
}

// lastGeneration leaves the attempts of a gang's last generation: what others
// gave before is of another run.
func (st stage) lastGeneration(plan jobspec.Plan, all []jobspec.Attempt) []jobspec.Attempt {
	if st.Spec.Gang == nil {
		return all
	}
	last := 0
	for _, a := range all {
		if plan.StageOf(a.ID.Task) == st.index {
			last = max(last, a.ID.Try)
		}
	}
	return slices.DeleteFunc(slices.Clone(all), func(a jobspec.Attempt) bool { return a.ID.Try != last })
}
