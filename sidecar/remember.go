package sidecar

import (
	"context"
	"slices"
	"strings"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/merge"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
)

// remember takes out of a plan what earlier jobs have done already, pins those
// outputs for this job as one tree, and returns how many items that were. A
// remembered result lives as long as the record of the job that made it, whose
// pins hold its blocks.
func (d *driver) remember(ctx context.Context, job jobspec.Job, f jobspec.Facts, plan jobspec.Plan) (jobspec.Plan, int, error) {
	if job.Spec.Cache != jobspec.CacheUse {
		return plan, 0, nil
	}
	known, err := d.recall(ctx, plan)
	if err != nil || len(known) == 0 {
		return plan, 0, err
	}
	if job.Spec.Run.Per == jobspec.PerTask {
		return d.rememberTask(ctx, plan, known)
	}
	var files []merge.File
	kept := 0
	keys := itemKeys(plan)
	f.Items = slices.DeleteFunc(slices.Clone(f.Items), func(it jobspec.Item) bool {
		r, ok := known[keys[it.Path]]
		if ok {
			kept++
			files = append(files, mergeFiles(r)...)
		}
		return ok
	})
	if plan, err = jobspec.NewPlan(job.Spec, f); err != nil {
		return plan, 0, err
	}
	_, err = d.cfg.IPFS.Add(ctx, pinName(d.id, "remembered"), func(w ipfs.Session) (jobspec.CID, error) {
		return merge.Files(ctx, w, files)
	})
	return plan, kept, err
}

// rememberTask drops the one task of a plan whose output is known.
func (d *driver) rememberTask(ctx context.Context, plan jobspec.Plan, known map[jobspec.CID]store.Remembered) (jobspec.Plan, int, error) {
	r, ok := known[plan.Tasks[0].Key]
	if len(plan.Tasks) != 1 || !ok {
		return plan, 0, nil
	}
	plan.Tasks = nil
	return plan, 0, d.cfg.IPFS.Pin(ctx, pinName(d.id, "remembered"), r.Outputs[0].CID)
}

func (d *driver) recall(ctx context.Context, plan jobspec.Plan) (known map[jobspec.CID]store.Remembered, err error) {
	var keys []jobspec.CID
	for _, t := range plan.Tasks {
		if len(t.Items) == 0 {
			keys = append(keys, t.Key)
		}
		for _, it := range t.Items {
			keys = append(keys, it.Key)
		}
	}
	err = d.cfg.Store.View(ctx, func(tx *store.Tx) error {
		known, err = tx.Recall(keys)
		return err
	})
	return known, err
}

// memories returns what a successful attempt adds to the memory: its task's
// output, or each item's files.
func (r *runner) memories(ctx context.Context, out outcome) (map[jobspec.CID]store.Remembered, error) {
	if r.job.Spec.Cache == jobspec.CacheOff {
		return nil, nil
	}
	if r.job.Spec.Run.Per == jobspec.PerTask {
		if r.att.Failure != nil {
			return nil, nil
		}
		whole := []store.Output{{CID: r.att.Output}}
		return map[jobspec.CID]store.Remembered{r.task.Key: {Job: r.id, Outputs: whole, Created: r.now()}}, nil
	}
	files := map[string]tree.Entry{}
	err := tree.Walk(ctx, r.cfg.IPFS, r.att.Output, ipfs.Budget{}, func(e tree.Entry) error {
		if e.Kind == tree.File {
			files[e.Path] = e
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	m := map[jobspec.CID]store.Remembered{}
	for _, it := range r.task.Items {
		if outs, ok := pick(files, out.items[it.Path]); ok {
			m[it.Key] = store.Remembered{Job: r.id, Outputs: outs, Created: r.now()}
		}
	}
	return m, nil
}

// pick finds the files that an item is said to have written; a report about
// files that are not there is not believed.
func pick(files map[string]tree.Entry, done *itemDone) ([]store.Output, bool) {
	if done == nil || done.err != "" {
		return nil, false
	}
	outs := make([]store.Output, 0, len(done.outputs))
	for _, p := range done.outputs {
		e, ok := files[p]
		if !ok {
			return nil, false
		}
		outs = append(outs, store.Output{Path: p, CID: e.CID, Size: e.Size})
	}
	return outs, true
}

func itemKeys(plan jobspec.Plan) map[string]jobspec.CID {
	keys := map[string]jobspec.CID{}
	for _, t := range plan.Tasks {
		for _, it := range t.Items {
			keys[it.Path] = it.Key
		}
	}
	return keys
}

func mergeFiles(r store.Remembered) []merge.File {
	files := make([]merge.File, len(r.Outputs))
	for i, o := range r.Outputs {
		files[i] = merge.File{Path: o.Path, CID: o.CID, Size: o.Size}
	}
	slices.SortFunc(files, func(a, b merge.File) int { return strings.Compare(a.Path, b.Path) })
	return files
}
