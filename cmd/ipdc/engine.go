package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/executor/docker"
	"github.com/ipdc/ipdc/executor/lazy"
	"github.com/ipdc/ipdc/executor/route"
	"github.com/ipdc/ipdc/executor/wasm"
	"github.com/ipdc/ipdc/images"
	imagesdocker "github.com/ipdc/ipdc/images/docker"
	imageswasm "github.com/ipdc/ipdc/images/wasm"
	"github.com/ipdc/ipdc/internal/wasi"
	"github.com/ipdc/ipdc/sidecar"
	"github.com/ipdc/ipdc/wire"
)

// wasmPart is the argument by which this program is a process of a container
// of executor/wasm.
const wasmPart = "__wasm"

// engineHint is what mends a node without a container engine.
const engineHint = "install and start the Docker Engine (apt-get install docker.io), or name one with --docker; WASI modules run without it"

// engines are what runs containers on this node.
type engines struct {
	gpus     int // graphics processors; 0 also while there is no engine
	executor executor.Executor
	images   images.Store
	parent   string // control group of containers that no engine puts elsewhere
	grouped  bool   // all jobs lie in control groups of their own
}

// engines opens what runs containers. Docker may be missing, now or for good:
// then WASI modules run, and what needs an image is refused with the reason.
func (n *node) engines(ctx context.Context, capacity wire.Capacity) (engines, error) {
	given, err := groupPath(n.set.CgroupParent)
	if err != nil {
		return engines{}, err
	}
	prefix := sidecar.ObjectPrefix(n.key.ID())
	name := strings.ToLower(strings.TrimSuffix(prefix, "-"))
	var made []*docker.Executor // at most one
	grouped := given != ""
	dock := lazy.New(lazy.Config{Name: "docker", Hint: engineHint, Open: func(ctx context.Context) (executor.Executor, string, error) {
		ex, err := docker.Open(ctx, docker.Config{Host: n.set.Docker, Runtime: n.set.Runtime, Strict: n.set.StrictRuntime, Logger: n.log})
		if err != nil {
			return nil, "", err
		}
		made = append(made, ex)
		if n.set.CgroupParent != "" {
			return ex, n.set.CgroupParent, nil
		}
		parent, err := ex.EnsureCeiling(ctx, name, capacity.CPU, capacity.Memory)
		if err != nil {
			n.log.Warn("jobs have no common ceiling", "err", err)
		}
		grouped = err == nil // read where the engine was there at the start
		return ex, parent, nil
	}})
	self, err := os.Executable()
	if err != nil {
		return engines{}, err
	}
	modules, err := wasm.Open(ctx, wasm.Config{Dir: filepath.Join(n.set.Path, "wasm"), Program: []string{self, wasmPart}, Logger: n.log})
	if err != nil {
		return engines{}, err
	}
	all := route.New(dock, route.Route{Name: "wasm", Image: wasi.ID(), Executor: modules})
	n.onClose(all.Close)
	store, err := n.imageStore(dock)
	if err != nil {
		return engines{}, err
	}
	e := engines{executor: all, images: store}
	if err := dock.Ready(ctx); err != nil {
		n.log.Warn("no container engine: only WASI modules can be run", "err", err)
	}
	if len(made) > 0 {
		e.gpus = made[0].GPUs()
	}
	if given != "" {
		e.parent, e.grouped = given, true
		return e, nil
	}
	remove := hostCeiling().Remove
	if len(made) > 0 {
		remove = made[0].RemoveCeiling
	} else if e.parent, err = hostCeiling().Ensure(ctx, name, capacity.CPU, capacity.Memory); err != nil {
		n.log.Warn("jobs have no common ceiling", "err", err)
	} else {
		grouped = true
	}
	e.grouped = grouped
	if e.parent == "" {
		e.parent = "/" + name // where the engine's ceiling is, if it is not systemd's
	}
	n.onClose(func() error { return removeCeiling(context.WithoutCancel(ctx), all, prefix, name, remove) })
	return e, nil
}

// imageStore resolves images in the engine, once that is there and was checked.
func (n *node) imageStore(dock *lazy.Executor) (images.Store, error) {
	st, err := imagesdocker.Open(context.Background(), imagesdocker.Config{
		Host: n.set.Docker, Logger: n.log, Later: true,
		Registries: n.set.Registries, MaxArchive: int64(n.set.ImageSize), Spool: n.set.Path,
	})
	if err != nil {
		return nil, err
	}
	n.onClose(st.Close)
	var mu sync.Mutex
	checked := false
	return &imageswasm.Store{Store: st, Ready: func(ctx context.Context) error {
		if err := dock.Ready(ctx); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		if checked {
			return nil
		}
		err := st.Check(ctx)
		checked = err == nil
		return err
	}}, nil
}

// groupPath checks the setting cgroup-parent and returns where that group lies:
// a dash in a slice's name is a level, a-b.slice lies in a.slice.
func groupPath(parent string) (string, error) {
	name, slice := strings.CutSuffix(parent, ".slice")
	switch {
	case parent == "":
		return "", nil
	case filepath.IsAbs(parent) && filepath.Clean(parent) == parent && parent != "/" && !slice:
		return parent, nil
	case !slice || strings.ContainsAny(name, "/ \x00") || slices.Contains(strings.Split(name, "-"), ""):
		return "", usagef("cgroup-parent %q: want a path such as /jobs, or where the engine uses systemd a slice such as jobs.slice", parent)
	}
	at := ""
	for i, c := range name + "-" {
		if c == '-' {
			at += "/" + name[:i] + ".slice"
		}
	}
	return at, nil
}

// hostCeiling is the ceiling of a machine without an engine.
func hostCeiling() docker.Ceiling {
	const root = "/sys/fs/cgroup"
	_, err := os.Stat(filepath.Join(root, "cgroup.controllers"))
	return docker.Ceiling{Root: root, V2: err == nil, Run: func(context.Context, ...string) error {
		return errors.New("systemd is not asked")
	}}
}

// removeCeiling takes the node's control group away unless containers run in
// it: those go on, and systemd would end them with their slice.
func removeCeiling(ctx context.Context, ex executor.Executor, prefix, name string, remove func(context.Context, string) error) error {
	left, err := ex.List(ctx, prefix)
	if err != nil || len(left) > 0 {
		return nil // an engine that does not answer keeps what it has
	}
	if err := remove(ctx, name); err != nil {
		return fmt.Errorf("remove the jobs' ceiling: %w", err)
	}
	return nil
}
