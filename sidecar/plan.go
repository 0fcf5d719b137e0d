package sidecar

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ipdc/ipdc/images"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

// Plan resolves a spec as the preparer would, and says which tasks it would
// have and which of them are remembered. It runs nothing, installs nothing,
// pulls no image, and leaves no pin.
func (s *Sidecar) Plan(ctx context.Context, sub api.Submission) (wire.Plan, error) {
	asked, _, err := s.resolveDataset(ctx, sub.Tenant, sub.Spec)
	if err != nil {
		return wire.Plan{}, err
	}
	_ = s.learnStrictFor(ctx, asked) // the refusal says it
	spec, specCID, err := s.admit(asked, s.runsSomewhere(ctx))
	if err == nil {
		err = s.enough(ctx, spec)
	}
	if err == nil {
		err = s.permits(sub.Tenant, spec)
	}
	if err != nil {
		return wire.Plan{}, err
	}
	s.awaitCrew(ctx)
	job := jobspec.Job{ID: jobspec.NewJobID(s.now()), Tenant: sub.Tenant, Spec: spec, SpecCID: specCID}
	d := &driver{Sidecar: s, id: job.ID, dry: true}
	defer d.forgetPins()
	if err := refusal(d.fetch(ctx, job)); err != nil {
		return wire.Plan{}, causeOr(ctx, err)
	}
	turn := &turn{of: s.preparing}
	if err := turn.take(ctx); err != nil {
		return wire.Plan{}, err
	}
	defer turn.leave()
	if len(spec.Stages) > 0 {
		return d.planStages(ctx, job, turn)
	}
	facts, err := d.facts(ctx, job, images.Image{}, turn)
	if err != nil {
		return wire.Plan{}, causeOr(ctx, err)
	}
	return d.plan(ctx, stageOf(job, 0), facts)
}

// planStages plans the first stage, and says what is known of the others.
func (d *driver) planStages(ctx context.Context, job jobspec.Job, turn *turn) (wire.Plan, error) {
	stages := stagesOf(job)
	known, err := d.resolveStages(ctx, job, make([]images.Image, len(stages)), turn)
	if err != nil {
		return wire.Plan{}, causeOr(ctx, err)
	}
	first := stages[0]
	facts, err := d.stageFacts(ctx, &first, known)
	if err != nil {
		return wire.Plan{}, causeOr(ctx, first.at(err))
	}
	p, err := d.plan(ctx, first, facts)
	if err != nil {
		return p, first.at(err)
	}
	p.SpecCID = job.SpecCID
	for i, st := range stages {
		of := job.Spec.Stages[i]
		p.Stages = append(p.Stages, wire.PlanStage{
			Name: of.Name, Image: known.Stages[i].Image, Arch: known.Stages[i].Arch, Needs: slices.Concat(of.Needs, of.Side),
			Tasks: job.Spec.PartsOf(i), Each: st.Spec.Resources,
		})
	}
	p.Stages[0].Tasks = len(p.Tasks)
	return p, nil
}

// forgetPins takes off what resolving has pinned for a job that never was. The
// sweeper does so after a crash.
func (d *driver) forgetPins() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(d.keep()), 10*time.Second)
	defer cancel()
	if err := d.dropKept(ctx, d.id); err != nil {
		d.log.Warn("unpin what a plan looked at", "err", err)
	}
}

func (d *driver) plan(ctx context.Context, job stage, f jobspec.Facts) (wire.Plan, error) {
	p := wire.Plan{
		SpecCID: job.SpecCID, Image: f.Image, Arch: f.Arch, Input: f.Input, Bytes: f.Bytes, Items: f.CountItems(),
		Packages: f.Packages, AtOnce: f.Slots, Each: job.Spec.Resources, Tasks: []wire.PlanTask{},
	}
	unknown := job.Spec.Run.Requirements.Defined() && !f.Dependencies.Defined()
	if unknown { // the tasks are the same, their keys are not
		job.Spec.Run.Requirements = jobspec.CID{}
	}
	whole, err := jobspec.NewPlan(job.Spec, f)
	if err != nil {
		return p, fmt.Errorf("plan: %w", err)
	}
	var known map[jobspec.CID]store.Remembered
	if job.Spec.Cache == jobspec.CacheUse && !unknown {
		if known, err = d.recall(ctx, job.Spec, whole); err != nil {
			return p, fmt.Errorf("look up remembered results: %w", err)
		}
		if err := d.hideJobs(ctx, job.Tenant, known); err != nil {
			return p, fmt.Errorf("look up remembered results: %w", err)
		}
	}
	todo := whole
	if len(f.Items) > 0 && len(known) > 0 {
		p.Kept, todo, err = withoutKnown(job.Spec, f, whole, known)
		if err != nil {
			return p, fmt.Errorf("plan: %w", err)
		}
	}
	for _, t := range todo.Tasks {
		if by, ok := known[t.Key]; ok {
			done := planTask(t, unknown)
			done.Done, done.Remembered = true, by.Job
			p.Tasks = append(p.Tasks, done)
		}
	}
	todo.Tasks = slices.DeleteFunc(slices.Clone(todo.Tasks), func(t jobspec.Task) bool { _, ok := known[t.Key]; return ok })
	todo, all, err := d.spread(ctx, job, todo)
	if err != nil {
		return p, fmt.Errorf("place tasks: %w", err)
	}
	p.Nodes = all.table(d.Sidecar.id)
	for _, t := range todo.Tasks {
		p.Tasks = append(p.Tasks, planTask(t, unknown))
	}
	slices.SortFunc(p.Tasks, func(a, b wire.PlanTask) int { return cmp.Compare(a.Index, b.Index) })
	p.Reasons = d.reasons(job.Spec, p, len(known), unknown)
	return p, nil
}

// withoutKnown returns the remembered items of a plan, and the plan of the
// others.
func withoutKnown(spec jobspec.Spec, f jobspec.Facts, whole jobspec.Plan, known map[jobspec.CID]store.Remembered) (kept []wire.PlanItem, others jobspec.Plan, err error) {
	keys := itemKeys(whole)
	f.Items = slices.DeleteFunc(slices.Clone(f.Items), func(it jobspec.Item) bool {
		r, ok := known[keys[it.Path]]
		if ok {
			kept = append(kept, wire.PlanItem{Path: it.Path, Bytes: it.Size, Key: keys[it.Path], Done: true, Remembered: r.Job})
		}
		return ok
	})
	others, err = jobspec.NewPlan(spec, f)
	return kept, others, err
}

func planTask(t jobspec.Task, unknown bool) wire.PlanTask {
	out := wire.PlanTask{Holder: t.Holder, Index: t.Index, Name: t.Name, Key: t.Key, Bytes: t.Bytes}
	for _, it := range t.Items {
		item := wire.PlanItem{Path: it.Path, Bytes: it.Size, Key: it.Key}
		if unknown {
			item.Key = jobspec.CID{}
		}
		out.Items = append(out.Items, item)
	}
	if unknown {
		out.Key = jobspec.CID{}
	}
	return out
}

// reasons says why a plan is as it is.
func (d *driver) reasons(spec jobspec.Spec, p wire.Plan, known int, unknown bool) (text []string) {
	say := func(format string, a ...any) { text = append(text, fmt.Sprintf(format, a...)) }
	switch {
	case unknown:
		say("its requirements are not installed yet: a job of their own does that first, and the keys depend on what it gives")
	case spec.Cache == jobspec.CacheOff && len(spec.Network) > 0:
		say("cache is off, as for every job with a network that does not ask for it: nothing is remembered")
	case spec.Cache != jobspec.CacheUse:
		say("cache is %s: everything is run", spec.Cache)
	case known == 0:
		say("no job that is still recorded has done any of it: everything is run")
	}
	run := 0
	for _, t := range p.Tasks {
		if !t.Done {
			run++
		}
	}
	if run == 0 {
		say("nothing is left to run: no container would be started")
		return text
	}
	switch {
	case spec.Gang != nil:
		say("it is a gang: its %d tasks start together, or none does; they are spread over the members that have room, the nearest by hash first", len(p.Tasks))
	case spec.Split.Shards():
		say("the input has %d shards, each a task with a directory of its own", len(p.Tasks))
	case p.Items > 0:
		say("files are dealt into as many tasks as the node runs at once, more when one would have over 256 MiB or 1000 files")
	}
	away := 0
	for _, t := range p.Tasks {
		if t.Holder != "" {
			away++
		}
	}
	if away > 0 && spec.Gang != nil {
		say("%d of %d tasks would go to other members now, the others stay here", away, len(p.Tasks))
	} else if away > 0 {
		say("%d of %d tasks go to the members that hold their input, the others stay here", away, len(p.Tasks))
	}
	say("this node runs %d such tasks at once, each with up to %s CPU, %s of memory and %s of disk", p.AtOnce, p.Each.CPU, p.Each.Memory, p.Each.Disk)
	say("%s", d.placer.outlook(spec.Resources))
	return text
}
