// Package route is one executor made of several: a task goes to the one that
// runs its image.
//
//	ex := route.New(docker, route.Route{Name: "wasm", Image: wasi.ID(), Executor: wasm})
//
// Invariant: the id of a container says whose it is, so that a container is
// found again by a later process. Ids of the default executor are its own.
package route

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/jobspec"
)

// Route sends the tasks of one image to an executor.
type Route struct {
	Name     string // begins the ids of its containers: "name/id"
	Image    jobspec.ImageID
	Executor executor.Executor
}

// Executor routes. It is as safe for concurrent use as its members are.
type Executor struct {
	other  executor.Executor
	routes []Route
}

var _ executor.Group = (*Executor)(nil)

// New returns an executor that gives other all tasks that no route takes.
func New(other executor.Executor, routes ...Route) *Executor {
	return &Executor{other: other, routes: routes}
}

// Members returns the executors behind e, the default one first.
func (e *Executor) Members() []executor.Executor {
	list := []executor.Executor{e.other}
	for _, r := range e.routes {
		list = append(list, r.Executor)
	}
	return list
}

// of returns the executor of a container and the container's id there.
func (e *Executor) of(id executor.ID) (executor.Executor, executor.ID) {
	if name, rest, ok := strings.Cut(string(id), "/"); ok {
		for _, r := range e.routes {
			if r.Name == name {
				return r.Executor, executor.ID(rest)
			}
		}
	}
	return e.other, id
}

// Info describes the first member that can be used.
func (e *Executor) Info(ctx context.Context) (executor.Info, error) {
	var all error
	var name string
	for _, m := range e.Members() {
		info, err := m.Info(ctx)
		if err == nil {
			return info, nil
		}
		name, all = cmp.Or(name, info.Name), errors.Join(all, err)
	}
	return executor.Info{Name: name}, all
}

// Create gives t to the executor of its image.
func (e *Executor) Create(ctx context.Context, t executor.Task) (executor.ID, error) {
	for _, r := range e.routes {
		if r.Image == t.Image {
			id, err := r.Executor.Create(ctx, t)
			if err != nil {
				return "", err
			}
			return r.id(id), nil
		}
	}
	return e.other.Create(ctx, t)
}

func (r Route) id(id executor.ID) executor.ID { return executor.ID(r.Name) + "/" + id }

// Start starts a container.
func (e *Executor) Start(ctx context.Context, id executor.ID) error {
	ex, id := e.of(id)
	return ex.Start(ctx, id)
}

// Wait waits for a container.
func (e *Executor) Wait(ctx context.Context, id executor.ID) (executor.Exit, error) {
	ex, id := e.of(id)
	return ex.Wait(ctx, id)
}

// Logs copies a container's log.
func (e *Executor) Logs(ctx context.Context, id executor.ID, sink executor.LogSink) error {
	ex, id := e.of(id)
	return ex.Logs(ctx, id, sink)
}

// Stop stops a container.
func (e *Executor) Stop(ctx context.Context, id executor.ID, grace time.Duration) error {
	ex, id := e.of(id)
	return ex.Stop(ctx, id, grace)
}

// Remove removes a container.
func (e *Executor) Remove(ctx context.Context, id executor.ID) error {
	ex, id := e.of(id)
	return ex.Remove(ctx, id)
}

// List joins the lists of all members. It fails when one of them does: what is
// left out would be taken for gone.
func (e *Executor) List(ctx context.Context, prefix string) ([]executor.Container, error) {
	list, err := e.other.List(ctx, prefix)
	if err != nil {
		return nil, err
	}
	for _, r := range e.routes {
		more, err := r.Executor.List(ctx, prefix)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.Name, err)
		}
		for _, c := range more {
			c.ID = r.id(c.ID)
			list = append(list, c)
		}
	}
	return list, nil
}

// Close closes all members.
func (e *Executor) Close() error {
	var err error
	for _, m := range e.Members() {
		err = errors.Join(err, m.Close())
	}
	return err
}
