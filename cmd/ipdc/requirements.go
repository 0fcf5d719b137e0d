package main

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/merge"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/pip"
)

// setRequirements takes -r, --wheels and --allow-build.
func (r *request) setRequirements(f *submitFlags) error {
	for _, run := range runs(&r.spec) {
		run.AllowBuild = run.AllowBuild || f.allowBuild
		if f.requirements == "" && f.wheels == "" && run.AllowBuild && !run.Requirements.Defined() {
			return usagef("--allow-build goes with -r requirements.txt")
		}
	}
	if f.requirements == "" && f.wheels == "" {
		return nil
	}
	if f.expr != "" && f.image == "" {
		return usagef("packages are for Python programs: give -f FILE.py, or name an image that has python3 with --image")
	}
	if cid, err := jobspec.ParseCID(f.wheels); err == nil {
		if f.requirements != "" {
			return usagef("--wheels %s is taken as it is, with the requirements.txt in it: leave -r out", f.wheels)
		}
		for _, run := range runs(&r.spec) {
			run.Requirements = cid
		}
		return nil
	}
	r.pip = map[string]string{}
	if f.wheels != "" {
		if err := r.addWheels(f.wheels); err != nil {
			return err
		}
	}
	if f.requirements == "" {
		return nil
	}
	r.pip["requirements.txt"] = f.requirements
	text, err := os.ReadFile(f.requirements)
	if err != nil {
		return usageError{err}
	}
	if len(text) > pip.MaxRequirements {
		return usagef("-r %s has %d bytes, at most %d are read", f.requirements, len(text), pip.MaxRequirements)
	}
	return pip.Check(f.requirements, string(text))
}

func (r *request) addWheels(dir string) error {
	wheels, err := filepath.Glob(filepath.Join(dir, "*.whl"))
	if _, serr := os.Stat(dir); err != nil || serr != nil {
		return usageError{errors.Join(err, serr)}
	}
	if len(wheels) == 0 {
		return usagef("--wheels %s: there is no *.whl in it; fill it with: pip download --only-binary :all: -d %s -r requirements.txt", dir, dir)
	}
	for _, w := range wheels {
		r.pip[filepath.Base(w)] = w
	}
	return nil
}

// packPaths makes a directory of files, by the names that they get.
func packPaths(ctx context.Context, s ipfs.Session, paths map[string]string) (jobspec.CID, error) {
	var list []merge.File
	for _, name := range slices.Sorted(maps.Keys(paths)) {
		file, err := packPath(ctx, s, paths[name])
		if err != nil {
			return jobspec.CID{}, err
		}
		file.Path = name
		list = append(list, file)
	}
	return merge.Files(ctx, s, list)
}

func packPath(ctx context.Context, s ipfs.Session, path string) (merge.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return merge.File{}, err
	}
	defer f.Close()
	c, n, err := pack.File(ctx, s, f)
	return merge.File{CID: c, Size: n}, err
}

// setAs says how the input is shown.
func (r *request) setAs(as string) error {
	if as == "" {
		return nil
	}
	if r.local == "" && len(r.spec.Inputs) == 0 {
		return usagef("--as %s is about an input: give one with -c", as)
	}
	r.as = jobspec.As(as)
	for i := range r.spec.Inputs {
		r.spec.Inputs[i].As, r.spec.Inputs[i].At = r.as, ""
	}
	return nil
}
