package docker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/jobspec"
)

// Create makes a container from t, or adopts the one of that name.
func (e *Executor) Create(ctx context.Context, t executor.Task) (executor.ID, error) {
	if err := t.Validate(); err != nil {
		return "", fmt.Errorf("create container %s: %w", t.Name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, e.cfg.limits.change)
	defer cancel()
	id, err := e.create(ctx, t)
	// A name that is taken is rare, so nobody looks before. It can be taken
	// again after that, as an earlier call of a process that died may be what
	// the engine is still at work on.
	for try := 0; try < 3 && taken(err); try++ {
		var found executor.ID
		if found, err = e.adopt(ctx, t); err == nil && found == "" {
			id, err = e.create(ctx, t)
		} else if err == nil {
			return found, nil
		}
	}
	if err != nil {
		return "", fmt.Errorf("create container %s: %w", t.Name, err)
	}
	e.fresh.Store(id, true)
	return id, nil
}

// taken says whether there may be a container of the name already. A container
// outlives its image's removal by force.
func taken(err error) bool {
	return errdefs.IsConflict(err) || errors.Is(err, jobspec.KindImageGone.Error())
}

// adopt returns the container of t's name when it was made from an equal Task.
// It removes one that was not.
func (e *Executor) adopt(ctx context.Context, t executor.Task) (executor.ID, error) {
	c, err := e.inspect(ctx, t.Name)
	if errdefs.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", engineError(err)
	}
	engine, err := e.forTask(ctx, t)
	if err != nil {
		return "", err
	}
	why := mismatch(c, t, e.cfg.MountRoots, engine)
	if why == nil {
		return executor.ID(c.ID), nil
	}
	e.log.Info("replace container", "name", t.Name, "id", c.ID, "reason", why)
	return "", e.Remove(ctx, executor.ID(c.ID))
}

// mismatch returns why c cannot serve as the container of t. The label alone
// is not believed: image and sandbox are compared with what the engine says.
func mismatch(c container.InspectResponse, t executor.Task, roots []string, engine Engine) error {
	switch {
	case c.Config == nil || c.HostConfig == nil || c.State == nil:
		return errors.New("the engine shows only a part of it")
	case c.State.Status == container.StateDead || c.State.Status == container.StateRemoving:
		return fmt.Errorf("it is %s", c.State.Status)
	case c.Config.Labels[taskLabel] != digest(t):
		return errors.New("it was made from another task")
	case c.Image != t.Image.String():
		return fmt.Errorf("it runs the image %s", c.Image)
	}
	return check(*c.Config, *c.HostConfig, roots, engine.runtime(t))
}

func (e *Executor) create(ctx context.Context, t executor.Task) (executor.ID, error) {
	img, err := e.image(ctx, t.Image)
	if err != nil {
		return "", err
	}
	engine, err := e.forTask(ctx, t)
	if err != nil {
		return "", err
	}
	cfg, hc, err := ContainerConfig(t, engine, img)
	if err != nil {
		return "", err
	}
	if t.GPU > 0 {
		e.gpuMu.Lock()
		defer e.gpuMu.Unlock()
		if err := e.giveGPUs(ctx, &cfg, &hc, t.GPU); err != nil {
			return "", err
		}
	}
	if err := check(cfg, hc, e.cfg.MountRoots, engine.runtime(t)); err != nil {
		return "", err
	}
	res, err := e.api.ContainerCreate(ctx, client.ContainerCreateOptions{Name: t.Name, Config: &cfg, HostConfig: &hc})
	switch {
	case errdefs.IsNotFound(err):
		return "", jobspec.KindImageGone.Errorf("%s", engineText(err))
	case err != nil:
		return "", engineError(err)
	}
	for _, w := range res.Warnings {
		e.log.Warn("create container", "name", t.Name, "warning", w)
	}
	return executor.ID(res.ID), nil
}

// image returns what the image would add to a container. That is part of what
// its id is the digest of, so that the engine is asked once.
func (e *Executor) image(ctx context.Context, id jobspec.ImageID) (Image, error) {
	if img, ok := e.known.Load(id); ok {
		return img.(Image), nil
	}
	res, err := e.api.ImageInspect(ctx, id.String())
	if errdefs.IsNotFound(err) {
		return Image{}, jobspec.KindImageGone.Errorf("the engine does not have the image %s", id)
	}
	if err != nil {
		return Image{}, engineError(err)
	}
	img := Image{Arch: res.Architecture}
	if res.Config != nil {
		img.Env = res.Config.Env
		img.Volumes = slices.Sorted(maps.Keys(res.Config.Volumes))
	}
	e.known.Store(id, img)
	return img, nil
}

// Start starts a container that was created and never started.
func (e *Executor) Start(ctx context.Context, id executor.ID) error {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.limits.change)
	defer cancel()
	if _, fresh := e.fresh.LoadAndDelete(id); !fresh {
		c, err := e.inspect(ctx, string(id))
		if err != nil {
			return fmt.Errorf("start container %s: %w", id, goneError(err))
		}
		// The engine would run an ended container's program once more.
		if c.State == nil || c.State.Status != container.StateCreated {
			return nil
		}
	}
	if _, err := e.api.ContainerStart(ctx, string(id), client.ContainerStartOptions{}); err != nil {
		return fmt.Errorf("start container %s: %w", id, startError(err))
	}
	return nil
}

// Stop lets the engine end the program, so that the kill comes even when this
// process dies meanwhile. Grace is rounded up to whole seconds.
func (e *Executor) Stop(ctx context.Context, id executor.ID, grace time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, grace+e.cfg.limits.change)
	defer cancel()
	e.ending.Store(id, true)
	seconds := int(math.Ceil(max(grace, 0).Seconds()))
	_, err := e.api.ContainerStop(ctx, string(id), client.ContainerStopOptions{Timeout: &seconds})
	if err != nil {
		return fmt.Errorf("stop container %s: %w", id, goneError(err))
	}
	return nil
}

// Remove kills and removes a container with its anonymous volumes. It goes on
// trying for a while when the engine is busy with it. Given up, also while the
// engine is asked once more, it returns what the engine last said.
func (e *Executor) Remove(ctx context.Context, id executor.ID) error {
	e.fresh.Delete(id)
	defer e.ending.Delete(id)
	ctx, cancel := context.WithTimeout(ctx, e.cfg.limits.change)
	defer cancel()
	opts := client.ContainerRemoveOptions{Force: true, RemoveVolumes: true}
	var busy error
	for try := 0; ; try++ {
		_, err := e.api.ContainerRemove(ctx, string(id), opts)
		if err == nil || errdefs.IsNotFound(err) {
			return nil
		}
		if busy != nil && ctx.Err() != nil {
			return fmt.Errorf("remove container %s: %w, after %w", id, engineError(err), busy)
		}
		// "removal is already in progress" is a conflict, "device or resource
		// busy" an internal error.
		if !errdefs.IsConflict(err) && !errdefs.IsInternal(err) || try == 9 || pause(ctx, try) != nil {
			return fmt.Errorf("remove container %s: %w", id, engineError(err))
		}
		busy = engineError(err)
	}
}

// List returns the containers whose name begins with prefix.
func (e *Executor) List(ctx context.Context, prefix string) ([]executor.Container, error) {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.limits.ask)
	defer cancel()
	res, err := e.api.ContainerList(ctx, client.ContainerListOptions{
		All:     true,
		Filters: make(client.Filters).Add("name", "^/"+regexp.QuoteMeta(prefix)),
	})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", engineError(err))
	}
	var out []executor.Container
	for _, c := range res.Items {
		for _, name := range c.Names {
			name = strings.TrimPrefix(name, "/")
			if strings.HasPrefix(name, prefix) && !strings.Contains(name, "/") {
				out = append(out, executor.Container{ID: executor.ID(c.ID), Name: name, Running: running(c.State)})
			}
		}
	}
	return out, nil
}

func running(s container.ContainerState) bool {
	return s == container.StateRunning || s == container.StatePaused || s == container.StateRestarting
}

func (e *Executor) inspect(ctx context.Context, nameOrID string) (container.InspectResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.limits.ask)
	defer cancel()
	res, err := e.api.ContainerInspect(ctx, nameOrID, client.ContainerInspectOptions{})
	return res.Container, err
}
