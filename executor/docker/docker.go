// Package docker runs tasks as containers of a Docker engine, API 1.40 or
// later, over its HTTP API. No command line is involved.
//
//	ex, err := docker.Open(ctx, docker.Config{Logger: log})
//	defer ex.Close()
//	parent, err := ex.EnsureCeiling(ctx, "ipdc-node", cpu, memory)
//	id, err := ex.Create(ctx, task)
//	err = ex.Start(ctx, id)
//
// Invariants: what a container is made from is a pure function of the Task,
// see [ContainerConfig]; nothing of the image's own config has an effect;
// whatever that function returns passes a second guard, an allowlist, before
// the engine sees it; a container whose limits the engine cannot hold is never
// made, see [Executor.Info].
package docker

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/client"

	"github.com/ipdc/ipdc/executor"
)

// deadlines of calls to the engine.
type deadlines struct {
	ask    time.Duration // for what it knows
	change time.Duration // for what it is to do; a busy disk makes creating and removing slow, never this slow
	round  time.Duration // a stream that says nothing for so long may be dead, and is asked for anew
	tries  int           // how often in a row Wait and Logs let the engine not answer
}

// usual has tries for about half a minute, enough for an engine's restart.
var usual = deadlines{ask: 30 * time.Second, change: 2 * time.Minute, round: time.Minute, tries: 14}

// Config says which engine to use and how.
type Config struct {
	// Host is the engine's address; "" means unix:///var/run/docker.sock. The
	// engine must see the same host paths as this process.
	Host string
	// MountRoots are the host directories below which every mount's source
	// must lie. Empty means no such limit.
	MountRoots []string
	// Runtime is the OCI runtime of containers by its name in the engine, such
	// as "runsc"; "" means the engine's default.
	Runtime string
	// Strict is likewise the one of strict tasks, which has a kernel of its own,
	// such as "runsc" or one of Kata Containers; "" means none.
	Strict string
	// Logger takes what was handled and what a person may want to know; nil
	// means none.
	Logger *slog.Logger

	limits deadlines // the zero value means usual
}

// Executor is a connection to one engine. Its methods may be called by several
// goroutines.
type Executor struct {
	api    *client.Client
	cfg    Config
	log    *slog.Logger
	engine Engine
	known  sync.Map // ImageID -> Image
	fresh  sync.Map // ID of what this process made and nobody started yet
	ending sync.Map // ID of what this process asked the engine to end
	gpus   int      // graphics processors that containers can be given
	gpuMu  sync.Mutex
}

var _ executor.Executor = (*Executor)(nil)

// Open connects to the engine. The error says what is wrong when none answers
// or when it lacks a protection that the sandbox needs.
func Open(ctx context.Context, cfg Config) (*Executor, error) {
	if cfg.Host == "" {
		cfg.Host = client.DefaultDockerHost
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.limits == (deadlines{}) {
		cfg.limits = usual
	}
	api, err := client.New(client.WithHost(cfg.Host))
	if err != nil {
		return nil, fmt.Errorf("open engine at %s: %w", cfg.Host, err)
	}
	e := &Executor{api: api, cfg: cfg, log: cfg.Logger}
	si, err := e.hello(ctx)
	if err != nil {
		api.Close()
		return nil, fmt.Errorf("open engine at %s: %w", cfg.Host, err)
	}
	e.engine = Engine{
		Arch: goArch(si.Architecture), CPUs: si.NCPU, Runtime: cmp.Or(cfg.Runtime, si.DefaultRuntime),
		CgroupDriver: si.CgroupDriver, CgroupV2: si.CgroupVersion == "2",
	}
	e.gpus = countGPUs(si, gpuFolder)
	for _, w := range warnings(si, e.engine.Runtime, strictRuntime(si, cfg.Strict)) {
		e.log.Warn("container engine", "warning", w)
	}
	return e, nil
}

// hello agrees on an API version, which the client's other calls would go on
// without, and returns the engine's description.
func (e *Executor) hello(ctx context.Context) (system.Info, error) {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.limits.ask)
	defer cancel()
	if _, err := e.api.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true}); err != nil {
		return system.Info{}, engineError(err)
	}
	return e.system(ctx)
}

// Info asks the engine anew, so that an engine that was changed under a
// running node is noticed.
func (e *Executor) Info(ctx context.Context) (executor.Info, error) {
	si, err := e.system(ctx)
	if err != nil {
		return executor.Info{Name: "docker"}, fmt.Errorf("ask engine at %s: %w", e.cfg.Host, err)
	}
	return executor.Info{
		Name: "docker", Version: si.ServerVersion, Arch: goArch(si.Architecture),
		CgroupDriver: si.CgroupDriver, CgroupV2: si.CgroupVersion == "2", Strict: strictRuntime(si, e.cfg.Strict),
	}, nil
}

// Close drops idle connections. Containers go on.
func (e *Executor) Close() error { return e.api.Close() }

// system returns the engine's description when it can be used.
func (e *Executor) system(ctx context.Context) (system.Info, error) {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.limits.ask)
	defer cancel()
	res, err := e.api.Info(ctx, client.InfoOptions{})
	if err != nil {
		return system.Info{}, engineError(err)
	}
	return res.Info, problem(res.Info, e.cfg.Runtime)
}
