package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/workload/script"
)

// request is a spec with what has to be stored before it is complete.
type request struct {
	spec  jobspec.Spec
	files map[string][]byte   // the code directory; nil = none
	code  []map[string][]byte // those of the stages; nil = none
	pip   map[string]string   // files of the requirements by name; nil = none
	local string              // path that becomes the input; "" = none
	car   string              // CAR file that holds the input; "" = none
	as    jobspec.As          // how that input is shown
	twice string              // a local path that may be the name of a dataset, too

	// input makes the input; nil = it is a path, or named in the spec.
	input func(context.Context, ipfs.Session) (jobspec.CID, error)
}

// oneProgram refuses a command line that does not say one thing to run.
func (f *submitFlags) oneProgram(args []string) error {
	given := 0
	for _, set := range []bool{f.file != "", f.expr != "", f.exec.path != "", len(args) > 0} {
		if set {
			given++
		}
	}
	if given != 1 {
		return usagef("give exactly one of -f FILE.py, -e COMMAND, -x CID, or a job spec")
	}
	return nil
}

// request turns flags and arguments into a spec. It reads files and asks no
// node.
func (a *app) request(f *submitFlags, args []string) (req request, err error) {
	if len(args) > 0 {
		if req.spec, err = a.readSpec(args[0]); err != nil {
			return req, err
		}
	} else if err = req.program(f); err != nil {
		return req, err
	}
	if err := req.apply(f); err != nil {
		return req, err
	}
	if err := req.setPlace(f); err != nil {
		return req, err
	}
	if err := req.setRequirements(f); err != nil {
		return req, err
	}
	if err := req.setInput(f.input); err != nil {
		return req, err
	}
	if err := req.setOnlyNew(f.onlyNew); err != nil {
		return req, err
	}
	if err := req.setAs(f.as); err != nil {
		return req, err
	}
	return req, req.validate()
}

// validate refuses a wrong spec before anything is uploaded for it: what is
// still to be stored stands for itself by some CID.
func (r *request) validate() error {
	s := r.spec
	some, err := jobspec.ParseCID("bafkqaaa")
	if err != nil {
		return err
	}
	if s.Run.Per == jobspec.PerItem && len(s.Inputs) == 0 && r.local == "" && r.input == nil {
		return usagef("there are no files to run it for: give them with -c CID|PATH, or run it once without any with --once")
	}
	s.Stages = slices.Clone(s.Stages)
	if r.files != nil {
		s.Run.Code = some
	}
	for i, files := range r.code {
		if files != nil {
			s.Stages[i].Run.Code = some
		}
	}
	for _, run := range runs(&s) {
		if r.pip != nil {
			run.Requirements = some
		}
	}
	if r.local != "" || r.input != nil {
		s.Inputs = []jobspec.Input{{CID: some.String(), As: r.as}}
	}
	return s.WithDefaults().Validate()
}

func (a *app) readSpec(path string) (jobspec.Spec, error) {
	var b []byte
	var err error
	if path == "-" {
		b, err = io.ReadAll(io.LimitReader(a.in, 1<<20))
	} else {
		b, err = os.ReadFile(path)
	}
	if err != nil {
		return jobspec.Spec{}, usageError{err}
	}
	spec, err := jobspec.Parse(b)
	if err != nil {
		return spec, fmt.Errorf("%s: %w", path, err)
	}
	return spec, nil
}

// program sets what -f, -e or -x runs.
func (r *request) program(f *submitFlags) error {
	if f.exec.fn != nil {
		r.call(*f.exec.fn)
		return nil
	}
	var p script.Program
	if f.expr != "" {
		if f.function != "" {
			return usagef("--function goes with -f")
		}
		p = script.Shell(f.expr, f.once)
	} else {
		src, err := os.ReadFile(f.file)
		if err != nil {
			return usageError{err}
		}
		p, err = script.Python(src, script.Options{Name: filepath.Base(f.file), Function: f.function, Once: f.once})
		if err != nil {
			return err
		}
	}
	r.spec.Version, r.spec.Run, r.files = jobspec.Version, p.Run, p.Files
	return nil
}

// apply sets the fields that have flags of their own; they win over a spec's.
func (r *request) apply(f *submitFlags) error {
	s := &r.spec
	for _, run := range runs(s) {
		setString(&run.Image, f.image)
	}
	setString(&s.Name, f.name)
	setString(&s.Cache, jobspec.Cache(f.cache))
	setString(&s.Merge, jobspec.Merge(f.merge))
	setString(&s.Split.By, jobspec.SplitBy(f.split))
	if f.into != 0 {
		s.Split.Into = f.into
	}
	if f.replicate != 0 {
		s.Replicate = f.replicate
	}
	if f.attempts != 0 {
		s.Retry.Attempts = f.attempts
	}
	if f.itemRetries != 0 {
		s.Retry.Items = f.itemRetries
	}
	s.Run.KeepGoing = s.Run.KeepGoing || f.keepGoing
	labels, err := pairs("--label", f.labels)
	if err != nil {
		return err
	}
	env, err := environ(f.env)
	if err != nil {
		return err
	}
	if err := setNetwork(s, f.network); err != nil {
		return err
	}
	s.Labels = merged(s.Labels, labels)
	s.Publish, s.Notify = append(s.Publish, f.publish...), append(s.Notify, f.notify...)
	for _, run := range runs(s) {
		run.Env = merged(run.Env, env)
	}
	return errors.Join(
		setting("cpu", f.cpu, &s.Resources.CPU),
		setting("memory", f.memory, &s.Resources.Memory),
		setting("disk", f.disk, &s.Resources.Disk),
		setting("timeout", f.timeout, &s.Timeouts.Run),
		setting("total-timeout", f.total, &s.Timeouts.Total),
		setting("keep", f.keep, &s.Keep),
		setting("split-size", f.splitSize, &s.Split.Size),
		setting("record", f.record, &s.Split.Record),
	)
}

// runs are the programs of a spec, one of each stage where it has such.
func runs(s *jobspec.Spec) (list []*jobspec.Run) {
	if len(s.Stages) == 0 {
		return []*jobspec.Run{&s.Run}
	}
	for i := range s.Stages {
		list = append(list, &s.Stages[i].Run)
	}
	return list
}

func setString[T ~string](to *T, v T) {
	if v != "" {
		*to = v
	}
}

func merged(base, over map[string]string) map[string]string {
	if len(over) == 0 {
		return base
	}
	m := map[string]string{}
	maps.Copy(m, base)
	maps.Copy(m, over)
	return m
}

// environ reads NAME=VALUE, and NAME as the value it has here, as docker does.
func environ(list []string) (map[string]string, error) {
	var full []string
	for _, s := range list {
		if !strings.Contains(s, "=") {
			v, ok := os.LookupEnv(s)
			if !ok {
				return nil, usagef("--env %s: not set here; give %s=VALUE", s, s)
			}
			s += "=" + v
		}
		full = append(full, s)
	}
	return pairs("--env", full)
}

// setInput decides whether -c names a CID, a local path or, where no such path is
// there, a dataset.
func (r *request) setInput(arg string) error {
	if arg == "" {
		return nil
	}
	path, err := jobspec.ParsePath(arg)
	if err == nil {
		r.spec.Inputs = []jobspec.Input{{CID: path.String()}}
		return nil
	}
	info, serr := os.Stat(arg)
	ref, derr := jobspec.ParseDatasetRef(arg)
	if derr == nil && (serr != nil || strings.HasPrefix(arg, "dataset:")) {
		r.spec.Inputs = []jobspec.Input{{Dataset: ref.String()}}
		return nil
	}
	if serr != nil {
		return usagef("-c %q is neither a CID, nor the name of a dataset, nor a path that exists here (%v)", arg, err)
	}
	if derr == nil {
		r.twice = arg
	}
	if strings.HasSuffix(arg, ".car") && !info.IsDir() {
		root, err := carRoot(arg)
		r.spec.Inputs, r.car = []jobspec.Input{{CID: root.String()}}, arg
		return err
	}
	r.local = arg
	return nil
}

// setOnlyNew leaves out what earlier runs had.
func (r *request) setOnlyNew(only bool) error {
	if !only {
		return nil
	}
	if len(r.spec.Inputs) == 0 || r.spec.Inputs[0].Dataset == "" {
		return usagef("--only-new needs a dataset: give its name with -c")
	}
	r.spec.Inputs[0].OnlyNew = true
	return nil
}
