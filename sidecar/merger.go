package sidecar

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

// mergedPins begin the names of the pins of what Merge gave, after the job's own.
const mergedPins = "merged/"

// Merge merges the outputs of a job's tasks in another way than its spec says,
// or again, and keeps what that gives with the job. How the job ended stays as
// it is.
func (s *Sidecar) Merge(ctx context.Context, tenant, ref string, how jobspec.Merge) (wire.Merging, error) {
	job, err := s.mergeable(ctx, tenant, ref, how)
	if err != nil {
		return wire.Merging{}, err
	}
	unlock, err := s.loading.Lock(ctx, "merge/"+job.ID.String())
	if err != nil {
		return wire.Merging{}, err
	}
	defer unlock()
	all, err := s.parts(ctx, job)
	if err != nil {
		return wire.Merging{}, err
	}
	res := wire.Merging{Job: job.ID, Merge: how, Parts: len(all.roots)}
	if how == jobspec.MergeNone {
		res.Outputs = all.roots
		return res, nil
	}
	if res.CID, err = s.merge(ctx, pinName(job.ID, mergedPins+string(how)), how, all); err == nil {
		_, err = s.cfg.IPFS.Verify(ctx, res.CID)
	}
	if err != nil {
		return wire.Merging{}, at("merge", err)
	}
	return res, s.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		if job, err = tx.Job(job.ID); err != nil {
			return err
		}
		job.Merged = append(slices.DeleteFunc(job.Merged, func(m jobspec.Merged) bool { return m.Merge == how }), jobspec.Merged{Merge: how, CID: res.CID})
		return tx.PutJob(job)
	})
}

// mergeable returns a job all of whose outputs are there.
func (s *Sidecar) mergeable(ctx context.Context, tenant, ref string, how jobspec.Merge) (job jobspec.Job, err error) {
	err = s.cfg.Store.View(ctx, func(tx *store.Tx) error {
		id, err := tx.FindJob(tenant, ref)
		if err == nil {
			job, err = tx.Job(id)
		}
		return err
	})
	if err != nil {
		return job, err
	}
	if spec := job.Spec; how != jobspec.MergeNone {
		if spec.Merge = how; spec.Validate() != nil {
			return job, spec.Validate()
		}
	}
	if job.State == jobspec.JobSucceeded || clashed(job) {
		return job, nil
	}
	f := jobspec.Failure{Kind: jobspec.KindConflict, Where: "job " + job.ID.String(), Detail: "is " + string(job.State) + ": not all of its tasks gave their output"}
	if f.Hint = "`ipdc job rerun --cache use` runs what is missing; `ipdc job get` downloads what is there"; !job.State.Final() {
		f.Hint = "wait for it: ipdc job wait " + job.ID.String()
	}
	return job, f.Error()
}

// clashed says whether a job failed only because its outputs clash.
func clashed(j jobspec.Job) bool {
	return j.State == jobspec.JobFailed && j.Failure != nil && j.Failure.Kind == jobspec.KindDupName && j.Failure.Where == "merge"
}

// parts returns the outputs of a job's tasks, in their order.
func (s *Sidecar) parts(ctx context.Context, job jobspec.Job) (out parts, err error) {
	pins, err := s.cfg.IPFS.Pins(ctx, pinName(job.ID, "outputs"))
	if err != nil {
		return out, err
	}
	var shards jobspec.CID
	switch {
	case len(pins) > 0:
		shards = pins[0].Root
	case clashed(job):
		shards = job.Partial // a folder per task, as they clash
	case job.Spec.Merge == jobspec.MergeShards:
		shards = job.Result
	default:
		return s.onlyPart(ctx, job)
	}
	links, err := tree.Links(ctx, s.cfg.IPFS, shards, ipfs.Budget{Bytes: 1 << 62, Entries: s.cfg.Limits.Dataset})
	if err != nil {
		return out, at("outputs", err)
	}
	slices.SortFunc(links, func(a, b tree.Link) int { return strings.Compare(a.Name, b.Name) })
	gang := job.Spec.Stage(job.Spec.CountStages()-1).Gang != nil
	for _, l := range links {
		if out.roots = append(out.roots, l.CID); gang {
			out.names = append(out.names, l.Name)
		}
	}
	return out, nil
}

// onlyPart is the result of a job that had one output to merge.
func (s *Sidecar) onlyPart(ctx context.Context, job jobspec.Job) (parts, error) {
	tasks := map[int]bool{}
	err := s.cfg.Store.View(ctx, func(tx *store.Tx) error {
		plan, err := tx.Plan(job.ID)
		if err != nil {
			return err
		}
		list, err := tx.Attempts(job.ID)
		for _, a := range list {
			if succeeded(a) && plan.StageOf(a.ID.Task) == max(0, plan.Planned()-1) {
				tasks[a.ID.Task] = true
			}
		}
		return err
	})
	if err == nil && len(tasks) > 1 {
		err = jobspec.Failure{
			Kind: jobspec.KindConflict, Where: "job " + job.ID.String(), Detail: fmt.Sprintf("the outputs of its %d tasks were not kept apart", len(tasks)),
			Hint: "`ipdc job rerun --cache use` keeps them",
		}.Error()
	}
	return parts{roots: []jobspec.CID{job.Result}}, err
}
