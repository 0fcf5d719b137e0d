package sidecar

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/images"
	"github.com/ipdc/ipdc/internal/durable"
	"github.com/ipdc/ipdc/internal/failpoint"
	"github.com/ipdc/ipdc/internal/wasi"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/merge"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
)

// prepare turns every name in the spec into an identity, pins what the job
// needs, makes the plan, as far as it reads the inputs, and moves the job to
// queued.
func (d *driver) prepare(ctx context.Context, job jobspec.Job) (jobspec.Job, error) {
	imgs, err := d.bringImages(ctx, job)
	d.awaitCrew(ctx) // who is heard too late gets nothing of it
	if err == nil {
		err = refusal(d.fetch(ctx, job)) // other errors come up again below
	}
	if err != nil {
		return job, causeOr(ctx, err)
	}
	turn := &turn{of: d.preparing}
	if err := turn.take(ctx); err != nil {
		return job, err
	}
	defer turn.leave()
	failpoint.Hit(string(jobspec.JobQueued) + ".before-effect")
	if done, idle, err := d.nothingNew(ctx, job); idle || err != nil {
		return done, causeOr(ctx, err)
	}
	if len(job.Spec.Stages) > 0 {
		return d.prepareStages(ctx, job, imgs, turn)
	}
	var facts jobspec.Facts
	err = d.patientWith(ctx, turn, func() (err error) {
		facts, err = d.facts(ctx, job, imgs[0], turn)
		return err
	})
	if err != nil {
		return job, causeOr(ctx, err)
	}
	plan, err := jobspec.NewPlan(job.Spec, facts)
	if err != nil {
		return job, fmt.Errorf("plan: %w", err)
	}
	return d.planWith(ctx, job, facts, plan)
}

// planWith moves the job to queued with what of its plan is not remembered, or
// to its success when all of it is.
func (d *driver) planWith(ctx context.Context, job jobspec.Job, facts jobspec.Facts, plan jobspec.Plan) (jobspec.Job, error) {
	left, err := d.remember(ctx, stageOf(job, 0), facts, plan)
	if err != nil {
		return job, causeOr(ctx, fmt.Errorf("look up remembered results: %w", err))
	}
	items := facts.CountItems()
	if !left.result.Defined() {
		if left.plan, _, err = d.spread(ctx, stageOf(job, 0), left.plan); err != nil {
			return job, causeOr(ctx, fmt.Errorf("place tasks: %w", err))
		}
	}
	keep := func(tx *store.Tx, j *jobspec.Job) error {
		j.ItemsTotal, j.ItemsDone, j.Remembered = items, min(left.kept, items), left.kept
		return tx.PutPlan(j.ID, left.plan)
	}
	if left.result.Defined() {
		done, err := d.succeed(ctx, job, left.result, keep, jobspec.JobQueued, jobspec.JobPublishing, jobspec.JobPublished, jobspec.JobSucceeded)
		if !gone(err) {
			return done, err
		}
		d.log.Warn("remembered results are gone; running it again", "job", d.id, "err", err)
		if err := d.cfg.IPFS.Unpin(ctx, pinName(d.id, "result")); err != nil {
			return job, err
		}
		left = rest{plan: plan}
	}
	return d.to(ctx, keep, jobspec.JobQueued)
}

// patientWith is patiently, and leaves its turn to others while it waits to try
// again.
func (d *driver) patientWith(ctx context.Context, turn *turn, try func() error) error {
	return d.patiently(ctx, func() error {
		if !turn.held {
			if err := turn.take(ctx); err != nil {
				return err
			}
		}
		err := try()
		if err != nil {
			turn.leave()
		}
		return err
	})
}

// patiently tries again while the engine does not answer, for Config.Patience.
// An engine that never did is waited for as long after the node's start, as
// both start with the machine: without one, later jobs fail at once. So do
// those that are refused.
func (d *driver) patiently(ctx context.Context, try func() error) error {
	began := time.Now()
	defer d.tellPull("")
	for tries := 1; ; tries++ {
		err := try()
		if err == nil || refusal(err) != nil || ctx.Err() != nil {
			return err
		}
		since := began
		if errors.Is(err, executor.ErrNoEngine) {
			since = d.began
		}
		if time.Since(since) > d.cfg.Patience {
			return err
		}
		d.log.Warn("prepare job", "job", d.id, "try", tries, "err", err)
		d.tellPull("is tried again soon: " + jobspec.AsFailure(err).Detail)
		pause(ctx, tries)
	}
}

// facts resolves the image, the requirements and the input of a job without
// stages.
func (d *driver) facts(ctx context.Context, job jobspec.Job, img images.Image, turn *turn) (jobspec.Facts, error) {
	st := stageOf(job, 0)
	f, err := d.resolve(ctx, st, img, turn)
	if err == nil && len(job.Spec.Inputs) > 0 {
		err = d.readInput(ctx, st, &f)
	}
	return f, err
}

// resolve finds out what a stage runs in: image, code, packages.
func (d *driver) resolve(ctx context.Context, st stage, img images.Image, turn *turn) (jobspec.Facts, error) {
	img, err := d.image(ctx, st.Spec.Run.Image, img)
	if err != nil {
		return jobspec.Facts{}, err
	}
	if err := checkModule(st.Spec, img); err != nil {
		return jobspec.Facts{}, err
	}
	f := jobspec.Facts{
		SpecCID: st.SpecCID, Image: img.ID, Arch: img.Arch,
		Slots: d.placer.slots(st.Spec.Resources),
	}
	if code := st.Spec.Run.Code; code.Defined() {
		if err := d.cfg.IPFS.Pin(ctx, st.pin("code"), code); err != nil {
			return f, at("run.code", err)
		}
	}
	if f.Dependencies, f.Packages, err = d.dependencies(ctx, st, img, turn); err != nil {
		return f, at("run.requirements", err)
	}
	return f, nil
}

// readInput finds out what a stage over the job's input reads.
func (d *driver) readInput(ctx context.Context, st stage, f *jobspec.Facts) (err error) {
	if f.Input, err = d.input(ctx, st.Spec.Inputs[0], pinName(d.id, "input")); err != nil {
		return at("inputs[0].cid", err)
	}
	return d.divide(ctx, st, f)
}

// divide makes the shards of f.Input, or measures it.
func (d *driver) divide(ctx context.Context, st stage, f *jobspec.Facts) error {
	if st.Spec.Split.Shards() {
		return at("split", d.split(ctx, st, f))
	}
	return at("inputs[0].cid", d.measure(ctx, st.Spec, f))
}

// image resolves a reference, unless it was resolved a moment ago, to an image
// that this node can run.
func (d *driver) image(ctx context.Context, ref string, img images.Image) (_ images.Image, err error) {
	if img.ID == "" {
		if img, err = d.cfg.Images.Resolve(ctx, ref); err != nil {
			return img, at("run.image", err)
		}
	}
	if img.Arch == wasi.Arch {
		return img, nil // runs on any machine
	}
	arch, err := d.executorArch(ctx)
	if err != nil {
		return img, fmt.Errorf("ask the executor: %w", err)
	}
	if arch != "" && img.Arch != "" && img.Arch != arch && !d.crewRuns(img.Arch) {
		return img, jobspec.Failure{
			Kind: jobspec.KindImageRun, Where: "run.image",
			Detail: fmt.Sprintf("image %s is for %s, this node runs %s", ref, img.Arch, arch),
			Hint:   "give an image for " + arch,
		}.Error()
	}
	return img, nil
}

// executorArch asks the executor for its architecture until it has answered
// once: engines take longer over it than a remembered job does altogether.
func (s *Sidecar) executorArch(ctx context.Context) (string, error) {
	s.mu.Lock()
	arch := s.arch
	s.mu.Unlock()
	if arch != "" {
		return arch, nil
	}
	info, err := s.cfg.Executor.Info(ctx)
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arch = info.Arch
	return info.Arch, nil
}

// input resolves an input to the CID of a directory and pins it for the job
// under a name; an input that is read as a CAR may be any DAG.
func (d *driver) input(ctx context.Context, in jobspec.Input, pin string) (jobspec.CID, error) {
	path, err := jobspec.ParsePath(in.CID)
	if err != nil {
		return jobspec.CID{}, err
	}
	root, err := tree.Resolve(ctx, d.cfg.IPFS, path.Root, path.Segments)
	if err != nil {
		return jobspec.CID{}, err
	}
	if in.As == jobspec.AsCAR {
		return root, d.cfg.IPFS.Pin(ctx, pin, root)
	}
	kind, err := tree.KindOf(ctx, d.cfg.IPFS, root)
	if err != nil {
		return jobspec.CID{}, err
	}
	if kind == tree.Dir && in.Since.Defined() {
		return d.onlyNew(ctx, root, in.Since, pin)
	}
	if kind == tree.Dir {
		return root, d.pinInput(ctx, pin, root)
	}
	name := "data"
	if n := len(path.Segments); n > 0 {
		name = path.Segments[n-1]
	}
	return d.cfg.IPFS.Add(ctx, pin, func(w ipfs.Session) (jobspec.CID, error) {
		return merge.Wrap(ctx, w, name, root)
	})
}

// measure fills in the input's size and, for per-item jobs, its files.
func (d *driver) measure(ctx context.Context, spec jobspec.Spec, f *jobspec.Facts) error {
	if spec.Inputs[0].As == jobspec.AsCAR {
		return d.inTime(ctx, func(ctx context.Context) error {
			st, err := d.cfg.IPFS.Verify(ctx, f.Input)
			f.Bytes = st.Bytes
			return err
		})
	}
	walk := tree.Walk
	if d.distant {
		walk = tree.Outline
	}
	err := walk(ctx, d.cfg.IPFS, f.Input, d.cfg.Budget, func(e tree.Entry) error {
		if e.Kind != tree.File {
			return nil
		}
		f.Bytes += e.Size
		if spec.Run.Per == jobspec.PerItem {
			f.Items = append(f.Items, jobspec.Item{Path: e.Path, CID: e.CID, Size: e.Size})
		}
		return nil
	})
	slices.SortFunc(f.Items, func(a, b jobspec.Item) int { return strings.Compare(a.Path, b.Path) })
	return inputLimit(err)
}

// at adds to err where in the spec it came up.
func at(where string, err error) error {
	if err == nil || outside(err) || durable.Full(err) {
		return err
	}
	f := jobspec.AsFailure(err)
	if f.Where == "" {
		f.Where = where
	}
	return f.Error()
}

// causeOr returns why ctx was cancelled, when that is why err came up.
func causeOr(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// turn is a job's place among those in preparation.
type turn struct {
	of   chan struct{} // one element per job that has its turn
	held bool
}

func (t *turn) take(ctx context.Context) error {
	select {
	case t.of <- struct{}{}:
		t.held = true
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (t *turn) leave() {
	if t.held {
		<-t.of
		t.held = false
	}
}

// pause lets others go on while wait waits for one of them.
func (t *turn) pause(ctx context.Context, wait func() error) error {
	t.leave()
	if err := wait(); err != nil {
		return err
	}
	return t.take(ctx)
}
