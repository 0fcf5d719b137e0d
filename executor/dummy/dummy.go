// Package dummy is an executor in memory for tests. Each container does what
// its own environment says, see [Script]; no process is started.
//
//	state := dummy.NewState()
//	ex := dummy.New(state)
//	id, err := ex.Create(ctx, task) // Env: DUMMY_EXIT=19, DUMMY_WRITE=/outputs/a:text
//	...
//	if bad := state.Misuse(); len(bad) > 0 { t.Error(bad) }
//
// Invariants: it keeps the contract of package executor as the real adapters
// do, shown by the same suite; a call that breaks the contract fails and is
// recorded; containers live in the State, so that a second executor on the
// same State is a node after its restart.
package dummy

import (
	"context"
	"fmt"
	"io"
	"reflect"
	"runtime"
	"strings"
	"time"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/jobspec"
)

// Executor is a connection to a State.
type Executor struct {
	state  *State
	closed bool
}

var _ executor.Executor = (*Executor)(nil)

// New connects to state.
func New(state *State) *Executor { return &Executor{state: state} }

// Info says "dummy".
func (e *Executor) Info(context.Context) (executor.Info, error) {
	e.state.mu.Lock()
	defer e.state.mu.Unlock()
	return executor.Info{Name: "dummy", Version: "1", Arch: runtime.GOARCH, Strict: e.state.strict}, e.enter("info", nil)
}

// Create makes, adopts or replaces a container.
func (e *Executor) Create(ctx context.Context, t executor.Task) (executor.ID, error) {
	s := e.state
	s.mu.Lock()
	defer s.mu.Unlock()
	script, err := ParseScript(t.Env)
	if err != nil {
		return "", fmt.Errorf("create container %s: %w", t.Name, err)
	}
	if err := t.Validate(); err != nil {
		return "", s.broken("create container %s: %v", t.Name, err)
	}
	old := s.byName(t.Name)
	b := &box{task: t, script: script, state: "created", ended: make(chan struct{})}
	if old != nil && reflect.DeepEqual(old.task, t) {
		b = old
	}
	if err := e.enter("create", b); err != nil {
		return "", fmt.Errorf("create container %s: %w", t.Name, err)
	}
	if b == old {
		return b.id, nil
	}
	if t.Strict && s.strict == "" {
		return "", s.broken("create container %s: it is strict, and the engine said that it has no kernel for that", t.Name)
	}
	if s.images != nil && !s.images[t.Image] {
		return "", fmt.Errorf("create container %s: %w", t.Name, jobspec.KindImageGone.Errorf("no image %s", t.Image))
	}
	if old != nil {
		s.drop(old)
	}
	s.next++
	b.id = executor.ID(fmt.Sprintf("dummy%08d", s.next))
	s.boxes[b.id] = b
	return b.id, nil
}

// Start runs the script.
func (e *Executor) Start(ctx context.Context, id executor.ID) error {
	e.state.mu.Lock()
	defer e.state.mu.Unlock()
	b, err := e.find("start", id)
	if err != nil {
		return err
	}
	if b.state == "created" {
		e.state.run(b)
	}
	return nil
}

// Wait returns how the script ended.
func (e *Executor) Wait(ctx context.Context, id executor.ID) (executor.Exit, error) {
	b, err := e.started("wait", id)
	if err != nil {
		return executor.Exit{}, err
	}
	select {
	case <-ctx.Done():
		return executor.Exit{}, fmt.Errorf("wait for container %s: %w", id, context.Cause(ctx))
	case <-b.ended:
	}
	e.state.mu.Lock()
	defer e.state.mu.Unlock()
	if b.state != "ended" {
		return executor.Exit{}, fmt.Errorf("wait for container %s: %w", id, errGone)
	}
	return b.exit, nil
}

// Logs writes all output of the script and waits for its end.
func (e *Executor) Logs(ctx context.Context, id executor.ID, sink executor.LogSink) error {
	b, err := e.started("logs", id)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(sink.Stdout(), b.script.Output()); err != nil {
		return fmt.Errorf("read logs of container %s: %w", id, err)
	}
	if _, err := io.WriteString(sink.Stderr(), b.script.Stderr+b.stderr); err != nil {
		return fmt.Errorf("read logs of container %s: %w", id, err)
	}
	select {
	case <-ctx.Done():
		return fmt.Errorf("read logs of container %s: %w", id, context.Cause(ctx))
	case <-b.ended:
		return nil
	}
}

// Stop ends the script at once, or after grace when it ignores SIGTERM.
func (e *Executor) Stop(ctx context.Context, id executor.ID, grace time.Duration) error {
	b, err := e.started("stop", id)
	if err != nil {
		return err
	}
	e.state.mu.Lock()
	if b.state == "running" {
		b.timer.Stop()
		if b.script.IgnoreTerm {
			e.state.endAfter(b, grace, 128+9, false)
		} else {
			e.state.end(b, 128+15, false)
		}
	}
	e.state.mu.Unlock()
	select {
	case <-ctx.Done():
		return fmt.Errorf("stop container %s: %w", id, context.Cause(ctx))
	case <-b.ended:
		return nil
	}
}

// Remove kills and forgets a container.
func (e *Executor) Remove(ctx context.Context, id executor.ID) error {
	e.state.mu.Lock()
	defer e.state.mu.Unlock()
	b := e.state.boxes[id]
	if err := e.enter("remove", b); err != nil {
		return fmt.Errorf("remove container %s: %w", id, err)
	}
	if b != nil {
		e.state.drop(b)
	}
	return nil
}

// List returns the containers whose name begins with prefix.
func (e *Executor) List(ctx context.Context, prefix string) ([]executor.Container, error) {
	e.state.mu.Lock()
	defer e.state.mu.Unlock()
	if err := e.enter("list", nil); err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	var out []executor.Container
	for _, b := range e.state.boxes {
		if strings.HasPrefix(b.task.Name, prefix) {
			out = append(out, executor.Container{ID: b.id, Name: b.task.Name, Running: b.state == "running"})
		}
	}
	return out, nil
}

// Close ends the connection; calls after it break the contract.
func (e *Executor) Close() error {
	e.state.mu.Lock()
	defer e.state.mu.Unlock()
	e.closed = true
	return nil
}

var errGone = jobspec.KindLost.Errorf("the container is gone")

// enter begins a call; the State is locked.
func (e *Executor) enter(call string, b *box) error {
	if e.closed {
		return e.state.broken("%s after Close", call)
	}
	return e.state.enter(call, b)
}

// find begins a call on a container that should exist; the State is locked.
func (e *Executor) find(call string, id executor.ID) (*box, error) {
	b := e.state.boxes[id]
	if err := e.enter(call, b); err != nil {
		return nil, fmt.Errorf("%s container %s: %w", call, id, err)
	}
	if b == nil {
		return nil, fmt.Errorf("%s container %s: %w", call, id, errGone)
	}
	return b, nil
}

// started begins a call that needs Start before it.
func (e *Executor) started(call string, id executor.ID) (*box, error) {
	e.state.mu.Lock()
	defer e.state.mu.Unlock()
	b, err := e.find(call, id)
	if err == nil && b.state == "created" {
		return nil, e.state.broken("%s before start of container %s", call, b.task.Name)
	}
	return b, err
}
