package sidecar

import (
	"context"
	"errors"
	"path"
	"slices"
	"strings"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/merge"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
)

// remember takes out of a plan what earlier jobs have done already, pins those
// outputs for this job as one tree, and returns how many items that were, or
// tasks of a job without items. A
// remembered result lives as long as the record of the job that made it, whose
// pins hold its blocks. When they are gone all the same, as the node's blocks
// were lost or are kept elsewhere now, all of the plan is run again.
func (d *driver) remember(ctx context.Context, job jobspec.Job, f jobspec.Facts, plan jobspec.Plan) (jobspec.Plan, int, error) {
	less, kept, err := d.takeOut(ctx, job, f, plan)
	if errors.Is(err, jobspec.KindFetchTimeout.Error()) {
		d.log.Warn("remembered results are gone; running it again", "err", err)
		return plan, 0, nil
	}
	return less, kept, err
}

func (d *driver) takeOut(ctx context.Context, job jobspec.Job, f jobspec.Facts, plan jobspec.Plan) (jobspec.Plan, int, error) {
	// A run of this step that was killed may have pinned something else.
	if err := d.cfg.IPFS.Unpin(ctx, pinName(d.id, "remembered")); err != nil {
		return plan, 0, err
	}
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
	return plan, 1, d.cfg.IPFS.Pin(ctx, pinName(d.id, "remembered"), r.Outputs[0].CID)
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
	if r.job.Spec.Cache == jobspec.CacheOff || r.att.Failure != nil {
		return nil, nil // outputs of a failed try may be cut
	}
	if r.job.Spec.Run.Per == jobspec.PerTask {
		whole := []store.Output{{CID: r.att.Output}}
		return map[jobspec.CID]store.Remembered{r.task.Key: {Job: r.id, Outputs: whole, Created: r.now()}}, nil
	}
	claims := claimed(out)
	m := map[jobspec.CID]store.Remembered{}
	byPath := map[string]*store.Remembered{}
	for _, it := range r.task.Items {
		if done := out.items[it.Path]; done != nil && done.err == "" {
			byPath[it.Path] = &store.Remembered{Job: r.id, Created: r.now()}
		}
	}
	explained := true
	err := tree.Walk(ctx, r.cfg.IPFS, r.att.Output, ipfs.Budget{}, func(e tree.Entry) error {
		owner, ok := claims[e.Path]
		switch {
		case e.Path == "": // the root
		case e.Kind == tree.File && ok && byPath[owner] != nil:
			mem := byPath[owner]
			mem.Outputs = append(mem.Outputs, store.Output{Path: e.Path, CID: e.CID, Size: e.Size})
			delete(claims, e.Path)
		case e.Kind == tree.Dir && ok && owner == "":
			delete(claims, e.Path)
		default:
			explained = false
		}
		return nil
	})
	if err != nil || !explained || len(claims) > 0 {
		return nil, err
	}
	for _, it := range r.task.Items {
		if mem := byPath[it.Path]; mem != nil {
			m[it.Key] = *mem
		}
	}
	return m, nil
}

// claimed returns which item says it wrote which path, and the directories
// above those with no owner. A report in which two items claim one path gives
// a claim that no tree can meet. An output is remembered by items only when
// their claims explain all of it: else a remembered run would give another
// result than a fresh one.
func claimed(out outcome) map[string]string {
	claims := map[string]string{}
	for item, done := range out.items {
		if done == nil || done.err != "" {
			continue
		}
		for _, p := range done.outputs {
			if owner, taken := claims[p]; taken && owner != item {
				return map[string]string{"\x00": item}
			}
			claims[p] = item
			for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
				claims[dir] = ""
			}
		}
	}
	return claims
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
