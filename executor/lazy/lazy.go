// Package lazy is an executor whose engine may be missing: a node starts
// without it, says so, and uses it from the moment that it answers.
//
//	ex := lazy.New(lazy.Config{Name: "docker", Hint: "start it", Open: open})
//	err := ex.Ready(ctx) // nil, or a refusal with the hint
//
// Invariant: an engine that never answered holds no container of this process,
// so List is empty and no error; every other call fails with the reason.
package lazy

import (
	"context"
	"fmt"
	"time"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/jobspec"
)

// Config says how the engine is reached.
type Config struct {
	Name string // of the engine, for Info and messages
	Hint string // what a user can do when it is missing
	// Open connects to the engine. It also returns the control group that
	// containers of this engine belong in.
	Open func(ctx context.Context) (ex executor.Executor, cgroupParent string, err error)
	// Again is the time between two attempts to connect; default 2 s.
	Again time.Duration
}

// Executor connects to its engine when it is first needed.
type Executor struct {
	cfg  Config
	turn chan struct{} // held by who uses what follows; a lock that a caller need not wait for

	ex     executor.Executor // nil until the engine answered
	parent string
	err    error // of the last attempt
	tried  time.Time
}

var _ executor.Executor = (*Executor)(nil)

// New returns an executor that is not connected; it does no I/O.
func New(cfg Config) *Executor {
	if cfg.Again <= 0 {
		cfg.Again = 2 * time.Second
	}
	return &Executor{cfg: cfg, turn: make(chan struct{}, 1)}
}

// engine returns the engine's executor, or why there is none. One caller at a
// time connects; the others wait for it as long as their contexts last.
func (e *Executor) engine(ctx context.Context) (executor.Executor, error) {
	select {
	case e.turn <- struct{}{}:
		defer func() { <-e.turn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if e.ex != nil {
		return e.ex, nil
	}
	if e.err != nil && time.Since(e.tried) < e.cfg.Again {
		return nil, e.err
	}
	ex, parent, err := e.cfg.Open(ctx)
	switch {
	case err == nil:
		e.ex, e.parent = ex, parent
	case ctx.Err() == nil: // else it is the caller who is gone
		e.err, e.tried = err, time.Now()
	}
	return e.ex, err
}

// Ready returns nil once the engine has answered. The error is a refusal of
// kind E_POLICY, marked as [executor.ErrNoEngine]: who waits for an answer gets
// it, and a job that was accepted waits for the engine.
func (e *Executor) Ready(ctx context.Context) error {
	if _, err := e.engine(ctx); err != nil {
		return fmt.Errorf("%w: %w: %w", jobspec.Failure{Kind: jobspec.KindPolicy, Hint: e.cfg.Hint}.Error(), executor.ErrNoEngine, err)
	}
	return nil
}

// Info describes the engine. Without one the error ends with the hint.
func (e *Executor) Info(ctx context.Context) (executor.Info, error) {
	ex, err := e.engine(ctx)
	if err != nil {
		return executor.Info{Name: e.cfg.Name}, fmt.Errorf("%w (%s)", err, e.cfg.Hint)
	}
	info, err := ex.Info(ctx)
	if err != nil {
		info.Name = e.cfg.Name
	}
	return info, err
}

// Create passes t on, in the engine's own control group.
func (e *Executor) Create(ctx context.Context, t executor.Task) (executor.ID, error) {
	ex, err := e.engine(ctx)
	if err != nil {
		return "", err
	}
	t.CgroupParent = e.parent // never changes once there is an engine
	return ex.Create(ctx, t)
}

// Start passes on.
func (e *Executor) Start(ctx context.Context, id executor.ID) error {
	ex, err := e.engine(ctx)
	if err != nil {
		return err
	}
	return ex.Start(ctx, id)
}

// Wait passes on.
func (e *Executor) Wait(ctx context.Context, id executor.ID) (executor.Exit, error) {
	ex, err := e.engine(ctx)
	if err != nil {
		return executor.Exit{}, err
	}
	return ex.Wait(ctx, id)
}

// Logs passes on.
func (e *Executor) Logs(ctx context.Context, id executor.ID, sink executor.LogSink) error {
	ex, err := e.engine(ctx)
	if err != nil {
		return err
	}
	return ex.Logs(ctx, id, sink)
}

// Stop passes on.
func (e *Executor) Stop(ctx context.Context, id executor.ID, grace time.Duration) error {
	ex, err := e.engine(ctx)
	if err != nil {
		return err
	}
	return ex.Stop(ctx, id, grace)
}

// Remove passes on.
func (e *Executor) Remove(ctx context.Context, id executor.ID) error {
	ex, err := e.engine(ctx)
	if err != nil {
		return err
	}
	return ex.Remove(ctx, id)
}

// List passes on; without an engine there is nothing.
func (e *Executor) List(ctx context.Context, prefix string) ([]executor.Container, error) {
	ex, err := e.engine(ctx)
	if err != nil {
		return nil, nil
	}
	return ex.List(ctx, prefix)
}

// Close closes the connection, if there is one.
func (e *Executor) Close() error {
	e.turn <- struct{}{}
	defer func() { <-e.turn }()
	if e.ex == nil {
		return nil
	}
	return e.ex.Close()
}
