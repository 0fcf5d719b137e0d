package sidecar

import (
	"context"
	"errors"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/merge"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/store"
)

// resolveDataset puts CIDs in the place of the dataset that a spec names, and
// says what they are of. A spec that was resolved before is left as it is, and is
// a run over the dataset as far as the tenant has that version of it.
func (s *Sidecar) resolveDataset(ctx context.Context, tenant string, spec jobspec.Spec) (jobspec.Spec, *jobspec.DatasetUse, error) {
	if len(spec.Inputs) == 0 || spec.Inputs[0].Dataset == "" {
		return spec, nil, nil
	}
	spec = spec.WithDefaults() // which clones the inputs
	in := &spec.Inputs[0]
	if err := spec.Validate(); err != nil {
		return spec, nil, err
	}
	ref, err := jobspec.ParseDatasetRef(in.Dataset)
	if err != nil {
		return spec, nil, at("inputs[0].dataset", err)
	}
	if s.cfg.Datasets == nil {
		return spec, nil, at("inputs[0].dataset", jobspec.KindPolicy.Errorf("this node keeps no datasets"))
	}
	v, err := s.cfg.Datasets.Resolve(ctx, tenant, ref)
	if in.CID != "" && (err != nil || v.Root.String() != in.CID) {
		return spec, nil, nil
	}
	if err != nil {
		return spec, nil, at("inputs[0].dataset", err)
	}
	use := &jobspec.DatasetUse{Name: v.Name, Version: v.Version, Owner: v.Owner.String(), ID: v.ID, Root: v.Root}
	if use.Program, err = spec.Program(); err != nil {
		return spec, nil, err
	}
	known := in.CID != ""
	in.CID, in.Dataset = v.Root.String(), use.Ref().String()
	if !in.OnlyNew {
		return spec, use, nil
	}
	last, err := s.lastRun(ctx, tenant, *use)
	if err != nil || last == nil || known && in.Since != last.Dataset.Root {
		return spec, use, err
	}
	in.Since = last.Dataset.Root
	use.Since, use.Previous, use.Result, use.Ended = last.Dataset.Version, last.ID, last.Result, last.Finished
	return spec, use, nil
}

// lastRun is the newest job of the tenant that ran the same program over an
// earlier version, or this one, and succeeded; nil = there is none.
func (s *Sidecar) lastRun(ctx context.Context, tenant string, use jobspec.DatasetUse) (*jobspec.Job, error) {
	var list []jobspec.Job
	err := s.cfg.Store.View(ctx, func(tx *store.Tx) (err error) {
		list, err = tx.DatasetRuns(tenant, use.Program, jobspec.JobSucceeded)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, j := range list {
		d := j.Dataset
		if d.Name != use.Name || d.Owner != use.Owner || d.Version > use.Version {
			continue
		}
		if d.ID == use.ID {
			return &j, nil
		}
		if d.ID == "" { // it is older than ids, as are all behind it
			v, err := s.cfg.Datasets.Resolve(ctx, tenant, d.Ref())
			if err != nil || v.Root != d.Root {
				return nil, ctx.Err() // of another dataset, as far as can be told
			}
			return &j, nil
		}
	}
	return nil, nil
}

// namedNow returns the ids of the datasets that are called so now, by whose they
// are, as far as that is known here.
func (s *Sidecar) namedNow(ctx context.Context, tenant string, ref jobspec.DatasetRef) (map[identity.ID][]string, error) {
	if ref.Name == "" || s.cfg.Datasets == nil {
		return nil, nil
	}
	return s.cfg.Datasets.IDs(ctx, tenant, ref.Name)
}

// askedFor is the CID of a spec as it was submitted: what a name means may have
// changed when it is submitted again with the same idempotency key.
func askedFor(sub api.Submission, job jobspec.Job) (jobspec.CID, error) {
	if !namesDataset(sub.Spec) {
		return job.SpecCID, nil
	}
	return sub.Spec.WithDefaults().CID()
}

func namesDataset(s jobspec.Spec) bool { return len(s.Inputs) > 0 && s.Inputs[0].Dataset != "" }

// madeBefore returns the job that an idempotency key was used for with a spec
// that names a dataset, which may be gone since.
func (s *Sidecar) madeBefore(ctx context.Context, sub api.Submission) (job jobspec.Job, ok bool, err error) {
	if sub.IdempotencyKey == "" || !namesDataset(sub.Spec) {
		return job, false, nil
	}
	if sub.Fired != nil {
		job.ID = sub.Fired.JobID()
	}
	err = s.cfg.Store.View(ctx, func(tx *store.Tx) error {
		job, ok, err = s.byKey(tx, sub, job)
		return err
	})
	return job, ok && err == nil, err
}

// onlyNew leaves out of a job's input the entries of the directory since, and
// pins what is left under a name.
func (d *driver) onlyNew(ctx context.Context, root, since jobspec.CID, pin string) (jobspec.CID, error) {
	made := merge.NewDrafts(d.cfg.IPFS)
	c, entries, err := merge.Since(ctx, made, root, since)
	if errors.Is(err, jobspec.KindFetchTimeout.Error()) {
		f := jobspec.AsFailure(err)
		f.Hint = "a version of the dataset is not kept any more: run it once without --only-new, and keep more versions (ipdc dataset create --keep)"
		return c, f.Error()
	}
	if err != nil {
		return c, err
	}
	// What the nodes link to may be at other members.
	_, err = d.cfg.IPFS.Add(ctx, pin+"-new", func(w ipfs.Session) (jobspec.CID, error) { return made.Keep(ctx, w) })
	if err == nil {
		err = d.pinInput(ctx, pin, c)
	}
	if err != nil || d.dry {
		return c, err
	}
	return c, d.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		j, err := tx.Job(d.id)
		if err != nil || j.Dataset == nil {
			return err
		}
		j.Dataset.New = &entries
		return tx.PutJob(j)
	})
}

// nothingNew ends a job that is only over what is new when nothing is: with an
// empty result, and without a task.
func (d *driver) nothingNew(ctx context.Context, job jobspec.Job) (jobspec.Job, bool, error) {
	if len(job.Spec.Inputs) == 0 || !job.Spec.Inputs[0].Since.Defined() {
		return job, false, nil
	}
	root, err := d.input(ctx, job.Spec.Inputs[0], pinName(d.id, "input"))
	if err != nil {
		return job, false, at("inputs[0].cid", err)
	}
	empty, err := d.cfg.IPFS.Add(ctx, pinName(d.id, "result"), func(w ipfs.Session) (jobspec.CID, error) { return merge.Files(ctx, w, nil) })
	if err != nil || empty != root {
		return job, false, errors.Join(err, d.cfg.IPFS.Unpin(ctx, pinName(d.id, "result")))
	}
	d.note(ctx, jobspec.Event{Job: d.id, Type: jobspec.EventWait, Detail: "has nothing to do: nothing is new since " + since(job)})
	keep := func(tx *store.Tx, j *jobspec.Job) error {
		return tx.PutPlan(j.ID, jobspec.Plan{SpecCID: job.SpecCID, Input: root, Tasks: []jobspec.Task{}})
	}
	job, err = d.succeed(ctx, job, empty, keep, jobspec.JobQueued, jobspec.JobPublishing, jobspec.JobPublished, jobspec.JobSucceeded)
	return job, true, err
}

func since(job jobspec.Job) string {
	if u := job.Dataset; u != nil && u.Since > 0 {
		return jobspec.DatasetRef{Name: u.Name, Version: u.Since}.String()
	}
	return job.Spec.Inputs[0].Since.String()
}
