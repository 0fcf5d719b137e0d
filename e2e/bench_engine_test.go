package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	moby "github.com/moby/moby/client"

	"github.com/ipdc/ipdc/wire/guest"
)

// bareEngine runs the container of a trivial job by the Engine API alone: the
// same config, with directories of its own in place of the job's.
type bareEngine struct {
	api   *moby.Client
	image string
	conf  *container.Config
	host  *container.HostConfig
	seq   atomic.Int64 // of container names
}

// newBareEngine takes the config from the container of a real job.
func newBareEngine(t testing.TB, n *node) *bareEngine {
	api, err := moby.New(moby.FromEnv)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { api.Close() })
	spec := write(t, t.TempDir(), "job.yaml", "version: ipdc/v1\nrun: {image: shell, command: [sleep, \"300\"]}\n")
	id := n.ok("job", "submit", "-d", spec)
	n.await("the container", 20*time.Second, func() bool { return len(n.containers()) == 1 })
	res, err := api.ContainerInspect(t.Context(), strings.Fields(n.containers()[0])[0], moby.ContainerInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	n.ok("job", "stop", id)
	b := &bareEngine{api: api, conf: res.Container.Config, host: res.Container.HostConfig, image: res.Container.Image}
	dir := t.TempDir()
	for i, m := range b.host.Mounts {
		b.host.Mounts[i] = b.own(t, dir, m)
	}
	return b
}

// own replaces a mount of the job, which is gone by now, by one with equal
// content.
func (b *bareEngine) own(t testing.TB, dir string, m mount.Mount) mount.Mount {
	path := filepath.Join(dir, filepath.Base(m.Target))
	switch m.Target {
	case guest.Binary:
		return m
	case guest.TaskFile:
		write(t, dir, filepath.Base(path), `{"command":["true"]}`)
	case "/etc/hosts":
		write(t, dir, filepath.Base(path), "127.0.0.1 localhost\n")
	default:
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	m.Source = path
	return m
}

// run makes, starts, awaits and removes one container.
func (b *bareEngine) run(t testing.TB) func() {
	return func() {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		res, err := b.api.ContainerCreate(ctx, moby.ContainerCreateOptions{Config: b.conf, HostConfig: b.host, Name: fmt.Sprintf("bare-%d-%d", os.Getpid(), b.seq.Add(1))})
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { // part of the time, and also after an error
			if _, err := b.api.ContainerRemove(ctx, res.ID, moby.ContainerRemoveOptions{Force: true}); err != nil {
				t.Error(err)
			}
		}()
		if _, err := b.api.ContainerStart(ctx, res.ID, moby.ContainerStartOptions{}); err != nil {
			t.Error(err)
			return
		}
		w := b.api.ContainerWait(ctx, res.ID, moby.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
		select {
		case end := <-w.Result:
			if end.StatusCode != 0 {
				t.Errorf("bare container ended with %d", end.StatusCode)
			}
		case err := <-w.Error:
			t.Error(err)
		}
	}
}
