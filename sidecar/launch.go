package sidecar

import (
	"context"
	"errors"
	"path/filepath"
	"slices"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/images"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/inputcache"
	"github.com/ipdc/ipdc/sidecar/pip"
)

// stage brings code and input into the input cache.
func (r *runner) stage(ctx context.Context) (err error) {
	defer func() {
		if err == nil {
			r.tookInputs(r.att.ID)
		}
	}()
	if code := r.job.Spec.Run.Code; code.Defined() && r.code.Path == "" {
		if r.code, err = r.acquire(ctx, r.cfg.Inputs, code); err != nil {
			return at("run.code", err)
		}
	}
	if deps := r.plan.Dependencies; deps.Defined() && r.deps.Path == "" {
		if r.deps, err = r.acquire(ctx, r.cfg.Inputs, deps); err != nil {
			return at("run.requirements", err)
		}
	}
	if p := r.att.Peers; p != nil && p.Checkpoint.Defined() && r.resumes.Path == "" {
		if r.resumes, err = r.acquire(ctx, r.cfg.Inputs, p.Checkpoint); err != nil {
			return at("checkpoint", err)
		}
	}
	if r.task.Shard.Defined() && r.input.Path == "" {
		cache := r.cfg.Inputs
		if r.plan.As == jobspec.AsCAR {
			if shown, err := r.showFile(); shown || err != nil {
				return at("inputs[0]", err)
			}
			cache = r.cfg.CARs
		}
		if r.input, err = r.acquire(ctx, cache, r.task.Shard); err != nil {
			return at("inputs[0]", err)
		}
	}
	return nil
}

func (r *runner) acquire(ctx context.Context, cache *inputcache.Cache, c jobspec.CID) (inputcache.Entry, error) {
	e, release, err := cache.Acquire(ctx, c)
	if err == nil {
		r.release = append(r.release, release)
	}
	return e, inputLimit(err)
}

// mount makes the outputs volume, writes what the guest reads and opens the way
// out.
func (r *runner) mount(ctx context.Context) (err error) {
	if r.vol, err = r.volume(ctx); err != nil {
		return err
	}
	if err := writeTask(r.runDir(r.att.ID), r.job.Spec, r.task, r.att.Peers); err != nil {
		return err
	}
	return r.network()
}

// create makes the container. After a restart it also takes back what the
// earlier steps held in memory.
func (r *runner) create(ctx context.Context) error {
	if err := r.stage(ctx); err != nil {
		return err
	}
	if err := r.mount(ctx); err != nil {
		return err
	}
	// Not cut short by a cancelled job: an engine may make the container of a
	// call that was given up, after everybody has looked for it.
	task := containerTask(r.job.Spec, r.plan, r.att.ID, r.paths())
	task.Env = r.secretEnv(task.Env)
	id, err := r.cfg.Executor.Create(r.keep(), task)
	if errors.Is(err, jobspec.KindImageGone.Error()) && r.bringMissing(ctx, r.job.Spec.Run.Image) == nil {
		id, err = r.cfg.Executor.Create(r.keep(), task) // the plan's image, or none: a tag may have moved
	}
	if err != nil {
		return err
	}
	r.att.Container = string(id)
	return nil
}

// secretEnv adds user name and password of the package index to the
// environment of an installation in which nothing but pip runs: they stand in
// no record, and no user's program sees them.
func (r *runner) secretEnv(env []string) []string {
	public := pip.EnvIndex + "=" + r.cfg.Index.Public()
	i := slices.Index(env, public)
	_, stock := images.StockRecipe(r.job.Spec.Run.Image)
	if r.job.Parent == "" || i < 0 || !pip.Trusted(r.job.Spec, stock) {
		return env
	}
	env = slices.Clone(env)
	env[i] = pip.EnvIndex + "=" + r.cfg.Index.URL
	return env
}

func (r *runner) paths() taskPaths {
	p := taskPaths{
		Prefix: r.prefix, Guest: r.cfg.Guest, Run: r.runDir(r.att.ID),
		Code: r.code.Path, Input: r.input.Path, Dependencies: r.deps.Path,
		Outputs: r.vol.Outputs, Report: r.vol.Report, Exposed: append(r.exposed(), peerEnv(r.att.Peers)...),
		CgroupParent: r.cfg.CgroupParent, Limits: r.cfg.Limits,
	}
	if r.att.Peers != nil {
		p.Peers, p.Checkpoint = filepath.Join(p.Run, peersDir), r.resumes.Path
	}
	if len(r.job.Spec.Network) > 0 {
		p.Net = filepath.Join(p.Run, netDir)
		if r.cfg.CA != "" {
			p.CA = filepath.Join(p.Run, caFile)
		}
	}
	return p
}

// exposed is what the program asks to be told of the run.
func (r *runner) exposed() []string {
	job := r.id
	if o := r.job.Origin; o != nil {
		if id, err := jobspec.ParseAttemptID(o.Attempt); err == nil {
			job = id.Job
		}
	}
	return r.job.Spec.Exposed(r.plan, r.task, job.String(), r.Sidecar.id.String())
}

// begin starts the container.
func (r *runner) begin(ctx context.Context) error {
	if err := r.gate.pass(ctx, r.this); err != nil {
		return err
	}
	if err := r.network(); err != nil {
		return err
	}
	err := r.cfg.Executor.Start(ctx, executor.ID(r.att.Container))
	r.unsure = err != nil && (r.unsure || errors.Is(err, executor.ErrAway))
	if err != nil {
		return err
	}
	r.att.Started, r.att.Uptime = r.now(), jobspec.Duration(r.cfg.Uptime())
	r.runs(r.this, r.att.Started)
	if r.started != nil {
		r.started()
	}
	return nil
}
