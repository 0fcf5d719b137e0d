package sidecar

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ipdc/ipdc/images"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/merge"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/sidecar/pip"
	"github.com/ipdc/ipdc/store"
)

// dependencies turns a job's requirements into a directory of installed
// packages, pins it for the job, and returns it with what it holds. Packages
// are installed by a job of their own; what such a job gave before is used
// again, unless the job asks for a refresh.
func (d *driver) dependencies(ctx context.Context, job stage, img images.Image, turn *turn) (root jobspec.CID, packages []string, err error) {
	if !job.Spec.Run.Requirements.Defined() {
		return root, nil, nil
	}
	install, input, err := d.installSpec(ctx, job, img)
	if err != nil {
		return root, nil, err
	}
	if install.Cache == jobspec.CacheUse {
		root, err = d.installed(ctx, install, img, input)
	}
	if err == nil && !root.Defined() && !d.dry {
		root, err = d.install(ctx, job, install, turn)
	}
	if err != nil || !root.Defined() {
		return root, nil, err
	}
	err = d.cfg.IPFS.Pin(ctx, job.pin("dependencies"), root)
	if errors.Is(err, jobspec.KindFetchTimeout.Error()) && !d.dry { // its blocks were lost, or are kept elsewhere now
		if root, err = d.install(ctx, job, install, turn); err == nil {
			err = d.cfg.IPFS.Pin(ctx, job.pin("dependencies"), root)
		}
	}
	if err != nil {
		return root, nil, err
	}
	list, err := tree.List(ctx, d.cfg.IPFS, root, ipfs.Budget{})
	var names []string
	for _, e := range list.Entries {
		names = append(names, e.Path)
	}
	return root, pip.Packages(names), err
}

// installSpec returns the spec of the installation, after a look at what is
// asked for, and the directory that it reads.
func (d *driver) installSpec(ctx context.Context, job stage, img images.Image) (spec jobspec.Spec, input jobspec.CID, err error) {
	req := pip.Request{
		Requirements: job.Spec.Run.Requirements, AllowBuild: job.Spec.Run.AllowBuild, Image: img.ID.String(),
		Index: d.cfg.Index, Refresh: job.Spec.Cache == jobspec.CacheRefresh, Isolation: job.Spec.Isolation,
		Limits: d.cfg.Limits.within(jobspec.Resources(d.cfg.Capacity)), Run: d.cfg.Limits.Run,
	}
	if _, stock := images.StockRecipe(job.Spec.Run.Image); stock {
		req.Image = job.Spec.Run.Image // says that the image is ours
	}
	in := jobspec.Input{CID: req.Requirements.String(), As: jobspec.AsFiles}
	if input, err = d.input(ctx, in, job.pin("requirements")); err != nil {
		return spec, input, err
	}
	if req.Offline, err = d.checkRequirements(ctx, input); err != nil {
		return spec, input, err
	}
	req.Code, err = d.cfg.IPFS.Add(ctx, job.pin("installer"), func(w ipfs.Session) (jobspec.CID, error) {
		c, size, err := pack.File(ctx, w, bytes.NewReader(pip.Install))
		if err != nil {
			return c, err
		}
		return merge.Files(ctx, w, []merge.File{{Path: pip.Program, CID: c, Size: size}})
	})
	return pip.Job(req).WithDefaults(), input, err
}

// checkRequirements reads the requirements file of a directory and says
// whether wheels lie beside it.
func (d *driver) checkRequirements(ctx context.Context, dir jobspec.CID) (wheels bool, err error) {
	err = tree.Read(ctx, d.cfg.IPFS, dir, ipfs.Budget{}, func(e tree.Entry, content *tree.Content) error {
		if strings.HasSuffix(e.Path, ".whl") {
			wheels = true
		}
		if e.Kind != tree.File || e.Path != "data" && e.Path != "requirements.txt" {
			return nil
		}
		if e.Size > pip.MaxRequirements {
			return jobspec.KindLimit.Errorf("%s has %d bytes, at most %d are read", e.Path, e.Size, pip.MaxRequirements)
		}
		var text bytes.Buffer
		if _, err := tree.Copy(ctx, d.cfg.IPFS, e.CID, &text, ipfs.Budget{}); err != nil {
			return err
		}
		return pip.Check("requirements.txt", text.String())
	})
	return wheels, err
}

// installed returns what an earlier installation of the same gave, or no CID.
func (d *driver) installed(ctx context.Context, spec jobspec.Spec, img images.Image, input jobspec.CID) (root jobspec.CID, err error) {
	specCID, err := spec.CID()
	if err != nil {
		return root, err
	}
	plan, err := jobspec.NewPlan(spec, jobspec.Facts{SpecCID: specCID, Image: img.ID, Arch: img.Arch, Input: input, Slots: 1})
	if err != nil {
		return root, fmt.Errorf("plan installation: %w", err)
	}
	known, err := d.recall(ctx, spec, plan)
	if r, ok := known[plan.Tasks[0].Key]; ok && len(r.Outputs) == 1 {
		root = r.Outputs[0].CID
	}
	return root, err
}

// install runs the installation as a job of the same tenant and waits for its
// end. After a restart it finds the job that it began before.
func (d *driver) install(ctx context.Context, job stage, spec jobspec.Spec, turn *turn) (root jobspec.CID, err error) {
	if job.Spec.Name != "" {
		spec.Name += " of " + job.Spec.Name
	}
	sub := api.Submission{Tenant: job.Tenant, Spec: spec, IdempotencyKey: installKey(job)}
	child, created, err := d.submit(ctx, sub, job.ID)
	if err != nil {
		return root, err
	}
	if created {
		d.note(ctx, jobspec.Event{Job: job.ID, Type: jobspec.EventWait, Detail: "installs its requirements by job " + child.ID.String()})
	}
	if err := turn.pause(ctx, func() error { return d.awaitJob(ctx, child.ID) }); err != nil {
		return root, err
	}
	err = d.cfg.Store.View(ctx, func(tx *store.Tx) error {
		child.Job, err = tx.Job(child.ID)
		return err
	})
	if err == nil && child.State != jobspec.JobSucceeded {
		err = d.installFailure(ctx, job, child.Job)
	}
	return child.Result, err
}

// installKey is the idempotency key of a job's installation. No user can write
// it: theirs are printable.
func installKey(job stage) string {
	key := "\x01requirements/" + job.ID.String()
	if job.index > 0 {
		key += fmt.Sprintf("/%d", job.index)
	}
	return key
}

// stopInstallation stops what still runs for a job that ends before it was
// planned.
func (d *driver) stopInstallation(ctx context.Context, job jobspec.Job) error {
	if job.State != jobspec.JobAccepted {
		return nil
	}
	for _, st := range stagesOf(job) {
		if !st.Spec.Run.Requirements.Defined() {
			continue
		}
		var child jobspec.JobID
		err := d.cfg.Store.View(ctx, func(tx *store.Tx) (err error) {
			child, _, _, err = tx.IdempotencyKey(job.Tenant, installKey(st))
			return err
		})
		if err == nil && child != "" {
			_, err = d.Stop(ctx, job.Tenant, child.String())
		}
		if err != nil && !errors.Is(err, jobspec.KindNotFound.Error()) && !errors.Is(err, jobspec.KindConflict.Error()) { // removed, or over
			return err
		}
	}
	return nil
}

// awaitJob returns when a job is final or ctx ends.
func (s *Sidecar) awaitJob(ctx context.Context, id jobspec.JobID) error {
	for {
		wake := s.hub.next(id)
		var job jobspec.Job
		err := s.cfg.Store.View(ctx, func(tx *store.Tx) (err error) {
			job, err = tx.Job(id)
			return err
		})
		if err != nil || job.State.Final() {
			s.hub.notify(id) // nobody else will
			return err
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// installFailure says in pip's own words why an installation ended badly.
func (d *driver) installFailure(ctx context.Context, job stage, child jobspec.Job) error {
	f := jobspec.Failure{Kind: jobspec.KindInternal, Detail: "the installation was given up"}
	if child.Failure != nil {
		f = *child.Failure
	}
	f.Where = "run.requirements"
	if text, err := d.logText(ctx, child); err == nil {
		if said := lastErrors(text); said != "" && f.Kind == jobspec.KindExit {
			f.Detail = said
		}
	}
	f.Hint = "see all that pip said: ipdc job logs " + child.ID.String()
	if strings.Contains(f.Detail, "No matching distribution") && !job.Spec.Run.AllowBuild && len(child.Spec.Network) > 0 {
		f.Hint += "; packages without a wheel need --allow-build"
	}
	return f.Error()
}

// lastErrors returns the lines in which pip, or what stands for it, says what
// went wrong, or the last line; at most 1 KiB.
func lastErrors(text string) string {
	var said []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(line, "ERROR: "); ok && !slices.Contains(said, rest) {
			said = append(said, rest)
		}
	}
	all := strings.Join(said, "; ")
	if lines := strings.Split(strings.TrimSpace(text), "\n"); all == "" {
		all = strings.TrimSpace(lines[len(lines)-1])
	}
	return all[max(0, len(all)-1024):]
}

// logEnd is how much of a log is looked through for what went wrong: pip says
// it at the end, behind what may be megabytes of a build.
const logEnd = 64 << 10

// logText returns the last part of what a job's program wrote, of at least
// logEnd bytes where there are so many.
func (s *Sidecar) logText(ctx context.Context, job jobspec.Job) (string, error) {
	var text []byte
	err := s.LogEvents(ctx, job.Tenant, job.ID.String(), "", api.LogPlace{}, false, func(p api.LogPiece) error {
		if text = append(text, p.Data...); len(text) > 2*logEnd {
			text = append(text[:0], text[len(text)-logEnd:]...)
		}
		return nil
	})
	return string(text), err
}
