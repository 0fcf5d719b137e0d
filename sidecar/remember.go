package sidecar

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/merge"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
)

// rest is what is left of a plan without what earlier jobs have done.
type rest struct {
	plan   jobspec.Plan
	kept   int         // items that were taken out, or tasks of a job without items
	tree   jobspec.CID // what single items gave
	result jobspec.CID // pinned as the job's when nothing is left to run
}

// remember takes out of a plan what earlier jobs have done already and pins
// those outputs for this job: of items as one tree, of tasks one by one. A
// remembered result lives as long as the record of the job that made it, whose
// pins hold its blocks. Where they are gone or damaged all the same, as the
// node's blocks were lost or are kept elsewhere now, it is run again.
func (d *driver) remember(ctx context.Context, job stage, f jobspec.Facts, plan jobspec.Plan) (rest, error) {
	left, err := d.takeOut(ctx, job, f, plan)
	if !gone(err) {
		return left, err
	}
	d.log.Warn("remembered results are gone; running it again", "job", d.id, "err", err)
	return rest{plan: plan}, d.forgetRemembered(ctx, job)
}

// gone says whether blocks of what was remembered are not there any more, or
// are not what they were.
func gone(err error) bool {
	return errors.Is(err, jobspec.KindFetchTimeout.Error()) || errors.Is(err, jobspec.KindBlockHash.Error())
}

func (d *driver) takeOut(ctx context.Context, job stage, f jobspec.Facts, plan jobspec.Plan) (rest, error) {
	left := rest{plan: plan}
	if job.Spec.Cache != jobspec.CacheUse {
		return left, nil
	}
	if err := d.forgetRemembered(ctx, job); err != nil {
		return left, err
	}
	known, err := d.recall(ctx, job.Spec, plan)
	if err == nil {
		err = d.hideJobs(ctx, job.Tenant, known)
	}
	if err != nil || len(known) == 0 {
		return left, err
	}
	if byTask(job.Spec) {
		return d.rememberTasks(ctx, job, left, known)
	}
	var files []merge.File
	var ends []jobspec.ItemEnd
	keys := itemKeys(plan)
	f.Items = slices.DeleteFunc(slices.Clone(f.Items), func(it jobspec.Item) bool {
		r, ok := known[keys[it.Path]]
		if ok {
			left.kept++
			files = append(files, mergeFiles(r)...)
			ends = append(ends, recalled(it, r))
		}
		return ok
	})
	if _, err := d.storeItems(ctx, job.pin(recalledPin), ends); err != nil {
		return left, fmt.Errorf("store the record of remembered items: %w", err)
	}
	if left.plan, err = jobspec.NewPlan(job.Spec, f); err != nil {
		return left, err
	}
	return d.hold(ctx, left, job, func(pin string) (jobspec.CID, error) {
		return d.cfg.IPFS.Add(ctx, pin, func(w ipfs.Session) (jobspec.CID, error) {
			return merge.Files(ctx, w, files)
		})
	})
}

// byTask says whether results are remembered for tasks as a whole. A piece of
// a file shares its path with others, so outputs of shards are told apart by
// the task only.
func byTask(s jobspec.Spec) bool { return s.Run.Per == jobspec.PerTask || s.Split.Shards() }

// forgetRemembered unpins what a run of this step that was killed may have
// pinned.
func (d *driver) forgetRemembered(ctx context.Context, st stage) error {
	pins, err := d.cfg.IPFS.Pins(ctx, st.pin("remembered"))
	known, kerr := d.cfg.IPFS.Pins(ctx, st.pin(recalledPin))
	err = errors.Join(err, kerr)
	for _, p := range append(pins, known...) {
		err = errors.Join(err, d.cfg.IPFS.Unpin(ctx, p.Name))
	}
	return err
}

// recalled is what the record says of an item that an earlier job has done.
func recalled(it jobspec.Item, r store.Remembered) jobspec.ItemEnd {
	e := jobspec.ItemEnd{Path: it.Path, State: jobspec.ItemRemembered, Task: -1, Job: r.Job}
	for _, f := range mergeFiles(r) {
		e.Outputs = append(e.Outputs, f.Path)
	}
	return e
}

// rememberTasks drops the tasks of a plan whose outputs are known, and counts
// them, or the items that they have.
func (d *driver) rememberTasks(ctx context.Context, job stage, left rest, known map[jobspec.CID]store.Remembered) (rest, error) {
	tasks := left.plan.Tasks
	left.plan.Tasks = []jobspec.Task{}
	for _, t := range tasks {
		r, ok := known[t.Key]
		if !ok {
			left.plan.Tasks = append(left.plan.Tasks, t)
			continue
		}
		root := r.Outputs[0].CID
		if len(tasks) == 1 && !job.staged() {
			left.plan.Kept = []jobspec.KeptTask{keptTask(t, r)}
			left.kept = max(1, len(t.Items))
			return d.hold(ctx, left, job, func(pin string) (jobspec.CID, error) { return root, d.cfg.IPFS.Pin(ctx, pin, root) })
		}
		switch err := d.pinWhole(ctx, job.pin(fmt.Sprintf("remembered/%d", t.Index)), root); {
		case gone(err):
			d.log.Warn("a remembered task is gone; running it again", "job", d.id, "task", t.Index, "err", err)
			left.plan.Tasks = append(left.plan.Tasks, t)
			continue
		case err != nil:
			return left, err
		}
		left.kept += max(1, len(t.Items))
		left.plan.Kept = append(left.plan.Kept, keptTask(t, r))
	}
	return left, nil
}

func keptTask(t jobspec.Task, r store.Remembered) jobspec.KeptTask {
	return jobspec.KeptTask{Index: t.Index, Key: t.Key, Shard: t.Shard, Output: r.Outputs[0].CID, Job: r.Job}
}

// pinWhole pins what is remembered, and reads it, as the result that it is a
// part of is only read at the job's end.
func (d *driver) pinWhole(ctx context.Context, pin string, root jobspec.CID) error {
	err := d.cfg.IPFS.Pin(ctx, pin, root)
	if err == nil {
		_, err = d.cfg.IPFS.Verify(ctx, root)
	}
	if gone(err) {
		if err := d.cfg.IPFS.Unpin(ctx, pin); err != nil {
			return fmt.Errorf("unpin what is damaged: %w", err)
		}
	}
	return err
}

// hold lets pin hold what is remembered: as the job's result when that is all
// of it, which is read as such then.
func (d *driver) hold(ctx context.Context, left rest, job stage, pin func(name string) (jobspec.CID, error)) (rest, error) {
	var err error
	if len(left.plan.Tasks) > 0 || job.staged() || job.Spec.Merge == jobspec.MergeShards {
		if left.tree, err = pin(job.pin("remembered")); err == nil {
			_, err = d.cfg.IPFS.Verify(ctx, left.tree)
		}
		return left, err
	}
	left.result, err = pin(pinName(job.ID, "result"))
	return left, err
}

// recall returns what is remembered of a plan: of its tasks, or of their items.
func (d *driver) recall(ctx context.Context, spec jobspec.Spec, plan jobspec.Plan) (known map[jobspec.CID]store.Remembered, err error) {
	var keys []jobspec.CID
	for _, t := range plan.Tasks {
		if byTask(spec) {
			keys = append(keys, t.Key)
			continue
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

// hideJobs takes the jobs of other tenants out of what is remembered: a job's
// record tells whose result it has, and ids of others are not for its reader.
func (d *driver) hideJobs(ctx context.Context, tenant string, known map[jobspec.CID]store.Remembered) error {
	return d.cfg.Store.View(ctx, func(tx *store.Tx) error {
		own := map[jobspec.JobID]bool{}
		for key, r := range known {
			if _, asked := own[r.Job]; !asked {
				j, err := tx.Job(r.Job)
				if err != nil && !errors.Is(err, jobspec.KindNotFound.Error()) {
					return err
				}
				own[r.Job] = err == nil && j.Tenant == tenant
			}
			if !own[r.Job] {
				r.Job = ""
				known[key] = r
			}
		}
		return nil
	})
}

// memories returns what a successful attempt adds to the memory: its task's
// output, or each item's files.
func (r *runner) memories(ctx context.Context, att jobspec.Attempt, out outcome) (map[jobspec.CID]store.Remembered, error) {
	if r.job.Spec.Cache == jobspec.CacheOff || att.Failure != nil {
		return nil, nil // outputs of a failed try may be cut
	}
	if byTask(r.job.Spec) {
		whole := []store.Output{{CID: att.Output}}
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
	err := tree.Walk(ctx, r.cfg.IPFS, att.Output, ipfs.Budget{}, func(e tree.Entry) error {
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
