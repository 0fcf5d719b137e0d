// Package wasm runs tasks as WASI preview-1 modules, without any engine: each
// container is a process of this program, in namespaces and control groups of
// its own, in which wazero runs the module.
//
//	ex, err := wasm.Open(ctx, wasm.Config{Dir: dir, Program: []string{self, "__wasm"}})
//	defer ex.Close()
//	id, err := ex.Create(ctx, task) // task.Image is wasi.ID()
//	err = ex.Start(ctx, id)
//
// The program that Config names calls [Main]. Command is the path of a module
// and its arguments, or guest.Binary: then the module and the items are in the
// guest's task file, as in a container of an engine.
//
// A container has a directory below Config.Dir and two processes. The
// supervisor, in a session of its own, keeps the log and writes exit.json; it
// outlives the node. The runner, its child, sees only the task's mounts.
//
// Invariants: a container is started at most once; its record is durable
// before its supervisor ends; when the supervisor is killed the runner dies
// with it; a module meets two walls: wazero, which gives it files and clocks
// only, and behind it a process without network, privileges or host files.
package wasm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/internal/wasi"
)

// Config says where containers are kept and how their processes are started.
type Config struct {
	Dir     string       // holds the containers and nothing else; made with mode 0700
	Program []string     // argv that calls Main with the arguments that follow it
	Logger  *slog.Logger // default none
}

// Executor runs modules. Its methods may be called by several goroutines.
type Executor struct {
	cfg     Config
	log     *slog.Logger
	problem error // why no container can be run here

	mu       sync.Mutex
	children map[int]bool // supervisors that this process started and has to reap
}

var _ executor.Executor = (*Executor)(nil)

// Open makes Config.Dir where it is missing and finds out whether this machine
// lets us build the sandbox; when not, Info says why.
func Open(ctx context.Context, cfg Config) (*Executor, error) {
	if len(cfg.Program) == 0 {
		return nil, errors.New("open wasm executor: Config.Program is empty")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open wasm executor: %w", err)
	}
	dir, err := filepath.EvalSymlinks(cfg.Dir)
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("open wasm executor: %w", err)
	}
	cfg.Dir = dir
	e := &Executor{cfg: cfg, log: cfg.Logger, children: map[int]bool{}}
	e.problem = e.probe(ctx)
	if ctx.Err() != nil { // a probe that was cut short tells nothing
		return nil, fmt.Errorf("open wasm executor: %w", context.Cause(ctx))
	}
	return e, nil
}

// probes begins the names of the directories of probes.
const probes = ".probe-"

// probe builds an empty sandbox once.
func (e *Executor) probe(ctx context.Context) error {
	unlock, err := lock(filepath.Join(e.cfg.Dir, lockFile))
	if err != nil {
		return err
	}
	defer unlock()
	left, err := filepath.Glob(filepath.Join(e.cfg.Dir, probes+"*")) // of a process that was killed
	for _, dir := range left {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	if err != nil {
		e.log.Warn("remove what an earlier probe left", "err", err)
	}
	dir, err := os.MkdirTemp(e.cfg.Dir, probes)
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	cmd := e.command(ctx, "probe", dir)
	cmd.SysProcAttr = namespaces()
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %s (run the node as root, or allow user namespaces: sysctl kernel.unprivileged_userns_clone=1)",
		err, strings.TrimSpace(string(out)))
}

// Info says which runtime runs the modules.
func (e *Executor) Info(context.Context) (executor.Info, error) {
	info := executor.Info{Name: "wasm", Version: wasi.Runtime[strings.LastIndex(wasi.Runtime, "/")+1:], Arch: runtime.GOARCH}
	if e.problem != nil {
		return info, fmt.Errorf("wasm sandbox: %w", e.problem)
	}
	return info, nil
}

// Close forgets the supervisors that this process started. Containers go on.
func (e *Executor) Close() error {
	e.reap()
	return nil
}

// reap buries supervisors of ours that have ended.
func (e *Executor) reap() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for pid := range e.children {
		if got, err := syscall.Wait4(pid, nil, syscall.WNOHANG, nil); got != 0 || err != nil && !errors.Is(err, syscall.EINTR) {
			delete(e.children, pid)
		}
	}
}
