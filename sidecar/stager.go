package sidecar

import (
	"context"
	"fmt"

	"github.com/ipdc/ipdc/images"
	"github.com/ipdc/ipdc/internal/failpoint"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
)

// prepareStages resolves what every stage runs in, so that nothing runs of a
// job that could not come to its end, and plans the first one.
func (d *driver) prepareStages(ctx context.Context, job jobspec.Job, imgs []images.Image, turn *turn) (jobspec.Job, error) {
	var plan jobspec.Plan
	err := d.patientWith(ctx, turn, func() (err error) {
		plan, err = d.resolveStages(ctx, job, imgs, turn)
		return err
	})
	if err != nil {
		return job, causeOr(ctx, err)
	}
	next, err := d.planStage(ctx, job, plan)
	if err != nil {
		return job, causeOr(ctx, err)
	}
	return d.to(ctx, func(tx *store.Tx, j *jobspec.Job) error {
		e := next.event(d.id)
		e.Time = d.now()
		if _, err := tx.AppendEvent(e); err != nil {
			return err
		}
		return next.put(tx, j)
	}, jobspec.JobQueued)
}

// resolveStages returns a plan in which no stage is planned yet.
func (d *driver) resolveStages(ctx context.Context, job jobspec.Job, imgs []images.Image, turn *turn) (jobspec.Plan, error) {
	plan := jobspec.Plan{SpecCID: job.SpecCID, Tasks: []jobspec.Task{}}
	for i, st := range stagesOf(job) {
		f, err := d.resolve(ctx, st, imgs[i], turn)
		if err != nil {
			return plan, st.at(err)
		}
		plan.Stages = append(plan.Stages, jobspec.PlanStage{Image: f.Image, Arch: f.Arch, Dependencies: f.Dependencies, Packages: f.Packages})
	}
	if len(job.Spec.Inputs) == 0 {
		return plan, nil
	}
	_, err := d.input(ctx, job.Spec.Inputs[0], pinName(d.id, "input"))
	return plan, at("inputs[0].cid", err)
}

// nextStage plans the stage behind those whose tasks have all succeeded. After
// a crash in between it is planned once more: the pins have the same names.
func (d *driver) nextStage(ctx context.Context, job jobspec.Job) (jobspec.Job, error) {
	plan, _, err := d.planned(ctx)
	if err != nil {
		return job, err
	}
	failpoint.Hit("stage.before-effect")
	next, err := d.planNext(ctx, job, plan)
	if err != nil {
		return job, causeOr(ctx, err)
	}
	failpoint.Hit("stage.after-effect")
	err = d.persist(ctx, func(tx *store.Tx) error {
		if job, err = tx.Job(d.id); err != nil {
			return err
		}
		if err := next.put(tx, &job); err != nil {
			return err
		}
		return d.record(tx, job, next.event(d.id))
	})
	if err != nil {
		return job, causeOr(ctx, fmt.Errorf("record stage %s: %w", next.name(), err))
	}
	failpoint.Hit("stage.after-completion")
	d.log.Info("job", "job", d.id, "stage", next.name(), "tasks", next.count, "remembered", next.kept)
	d.hub.notify(d.id)
	return job, nil
}

// planNext keeps what the last planned stage gave, and plans the next one, when
// it is the job's turn.
func (d *driver) planNext(ctx context.Context, job jobspec.Job, plan jobspec.Plan) (added, error) {
	turn := &turn{of: d.preparing}
	if err := turn.take(ctx); err != nil {
		return added{}, err
	}
	defer turn.leave()
	if err := d.keepStage(ctx, stageOf(job, plan.Planned()-1), plan); err != nil {
		return added{}, err
	}
	return d.planStage(ctx, job, plan)
}

// added is a stage that was planned, with what the job's record says of it.
type added struct {
	stage
	plan               jobspec.Plan // with it
	count, kept, items int
}

func (n added) event(id jobspec.JobID) jobspec.Event {
	noun := "tasks"
	if n.count == 1 {
		noun = "task"
	}
	text := fmt.Sprintf("stage %s: %d %s", n.name(), n.count, noun)
	if n.kept > 0 {
		text += fmt.Sprintf(", %d remembered", n.kept)
	}
	return jobspec.Event{Job: id, Type: jobspec.EventStage, Task: n.plan.Stages[n.index].First, Detail: text}
}

// put writes the plan, and counts what the stage adds.
func (n added) put(tx *store.Tx, j *jobspec.Job) error {
	j.ItemsTotal += n.items
	j.Remembered += n.kept
	j.ItemsDone += min(n.kept, n.items) // without items kept counts tasks
	return tx.PutPlan(j.ID, n.plan)
}

// planStage plans the next stage: what it reads is made by linking, what is
// remembered of it is taken out, and each of the other tasks gets its node.
func (d *driver) planStage(ctx context.Context, job jobspec.Job, plan jobspec.Plan) (added, error) {
	st := stageOf(job, plan.Planned())
	next, err := d.planStageOf(ctx, st, plan)
	return next, st.at(err)
}

func (d *driver) planStageOf(ctx context.Context, st stage, plan jobspec.Plan) (n added, err error) {
	f, err := d.stageFacts(ctx, &st, plan)
	if err != nil {
		return n, err
	}
	one, err := jobspec.NewPlan(st.Spec, f)
	if err != nil {
		return n, fmt.Errorf("plan: %w", err)
	}
	first := plan.Next()
	n = added{stage: st, count: len(one.Tasks), items: f.CountItems()}
	left, err := d.remember(ctx, st, f, one.Numbered(first))
	if err != nil {
		return n, fmt.Errorf("look up remembered results: %w", err)
	}
	if len(left.plan.Tasks) > 0 {
		if left.plan, _, err = d.spread(ctx, st, left.plan); err != nil {
			return n, fmt.Errorf("place tasks: %w", err)
		}
	}
	if !byTask(st.Spec) { // items were dealt anew
		left.plan = left.plan.Numbered(first)
		n.count = len(left.plan.Tasks)
	}
	n.kept = left.kept
	n.plan = plan.WithStage(left.plan, n.count)
	n.plan.Stages[st.index].Items = left.tree
	return n, nil
}

// stageFacts finds out what the tasks of a stage read, and completes its spec.
func (d *driver) stageFacts(ctx context.Context, st *stage, plan jobspec.Plan) (jobspec.Facts, error) {
	was := plan.Stages[st.index]
	f := jobspec.Facts{
		Image: was.Image, Arch: was.Arch, Dependencies: was.Dependencies, Packages: was.Packages,
		Slots: d.placer.slots(st.Spec.Resources),
	}
	err := d.readSides(ctx, st, plan)
	switch {
	case err != nil:
	case st.near():
		err = d.readStage(ctx, st, plan, &f)
	case len(st.Spec.Inputs) > 0:
		err = d.readInput(ctx, *st, &f)
	}
	if err == nil && st.laidOut() && len(f.Shards) == 0 && !st.Spec.Split.Shards() {
		err = d.layOutWhole(ctx, *st, &f)
	}
	if err != nil {
		return f, err
	}
	f.SpecCID, err = st.Spec.CID()
	st.SpecCID = f.SpecCID
	return f, err
}
