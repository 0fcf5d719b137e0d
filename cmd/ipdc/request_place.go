package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/merge"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/jobspec"
)

// place stores the code and a local input, and returns the completed spec.
func (a *app) place(ctx context.Context, r request, store storer) (jobspec.Spec, error) {
	if r.files != nil {
		code, err := store(func(ctx context.Context, s ipfs.Session) (jobspec.CID, error) { return packFiles(ctx, s, r.files) })
		if err != nil {
			return r.spec, fmt.Errorf("store the program: %w", err)
		}
		r.spec.Run.Code = code
	}
	if err := r.placeStages(store); err != nil {
		return r.spec, fmt.Errorf("store the program: %w", err)
	}
	if r.pip != nil {
		root, err := store(func(ctx context.Context, s ipfs.Session) (jobspec.CID, error) { return packPaths(ctx, s, r.pip) })
		if err != nil {
			return r.spec, fmt.Errorf("store the requirements: %w", err)
		}
		for _, run := range runs(&r.spec) {
			run.Requirements = root
		}
	}
	if r.input != nil {
		root, err := store(r.input)
		if err != nil {
			return r.spec, fmt.Errorf("store the input: %w", err)
		}
		r.spec.Inputs = []jobspec.Input{{CID: root.String(), As: r.as}}
	}
	if r.local == "" {
		return r.spec, nil
	}
	total := int64(0)
	if tty(a.err) {
		total = diskUse(r.local)
	}
	root, err := store(func(ctx context.Context, s ipfs.Session) (jobspec.CID, error) {
		res, err := a.pack(ctx, s, r.local, total)
		return res.CID, err
	})
	if err != nil {
		return r.spec, fmt.Errorf("add %s: %w", r.local, err)
	}
	a.say("added %s %s", root, visible(r.local))
	r.spec.Inputs = []jobspec.Input{{CID: root.String(), As: r.as}}
	return r.spec, nil
}

// placeStages stores the code of the stages.
func (r *request) placeStages(store storer) error {
	for i, files := range r.code {
		if files == nil {
			continue
		}
		code, err := store(func(ctx context.Context, s ipfs.Session) (jobspec.CID, error) { return packFiles(ctx, s, files) })
		if err != nil {
			return err
		}
		r.spec.Stages[i].Run.Code = code
	}
	return nil
}

// packFiles makes a directory of files that are held in memory.
func packFiles(ctx context.Context, s ipfs.Session, files map[string][]byte) (jobspec.CID, error) {
	var list []merge.File
	for _, name := range slices.Sorted(maps.Keys(files)) {
		c, n, err := pack.File(ctx, s, strings.NewReader(string(files[name])))
		if err != nil {
			return c, err
		}
		list = append(list, merge.File{Path: name, CID: c, Size: n})
	}
	return merge.Files(ctx, s, list)
}
