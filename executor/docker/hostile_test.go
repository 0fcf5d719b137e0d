package docker_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/executor/docker"
	"github.com/ipdc/ipdc/jobspec"
)

// hostileConfig is an image config that wants to have its way in everything.
func hostileConfig(labels map[string]string) v1.ConfigFile {
	return v1.ConfigFile{Config: v1.Config{
		Entrypoint:   []string{"/probe", "script"},
		Cmd:          []string{"evil"},
		Env:          []string{"DUMMY_STDOUT=evil", "LD_PRELOAD=/evil.so", "HTTP_PROXY=http://evil", "PATH=/evil"},
		User:         "job:root",
		WorkingDir:   "/evil",
		StopSignal:   "SIGCONT",
		Volumes:      map[string]struct{}{"/data": {}, "/data/below": {}, "/tmp": {}, "/dev/shm": {}, "/etc": {}, "/a/../b/": {}},
		ExposedPorts: map[string]struct{}{"80/tcp": {}},
		Healthcheck:  &v1.HealthConfig{Test: []string{"CMD", "/probe", "script"}, Interval: time.Second},
		Labels:       labels,
	}}
}

// hostileFiles make the user of a job a member of the group of root.
func hostileFiles() map[string]file {
	return map[string]file{
		"etc/":       {0o755, nil},
		"etc/passwd": {0o644, []byte(fmt.Sprintf("root:x:0:0::/:\njob:x:%d:0::/evil:\n", uid))},
		"etc/group":  {0o644, []byte("root:x:0:job\ndisk:x:6:job\n")},
		"plain":      {0o644, []byte("no program")},
	}
}

func (b *bench) inspect(t *testing.T, id string) container.InspectResponse {
	t.Helper()
	res, err := b.api.ContainerInspect(bounded(t), id, client.ContainerInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return res.Container
}

// volumes returns the anonymous volumes of a container.
func volumes(c container.InspectResponse) (names []string) {
	for _, m := range c.Mounts {
		if m.Type == "volume" {
			names = append(names, m.Destination)
		}
	}
	return names
}

func TestHostileImage(t *testing.T) {
	b := newBench(t)
	b.image = badImage(t, b.api, hostileFiles(), hostileConfig(map[string]string{"ipdc.task": "forged", "ipdc.owner": "victim"}))
	task := b.task("status")
	id := b.start(t, task)
	exit, err := b.ex.Wait(bounded(t), id)
	if err != nil || exit.Code != 0 {
		t.Fatalf("Wait = %+v, %v", exit, err)
	}
	job := b.inspect(t, string(id))
	status := parse[seen](t, b.job(t, b.task("status")))
	out, openID := b.controlID(t, func(c *container.Config, h *container.HostConfig) {
		c.Entrypoint, c.Cmd = nil, nil
		h.PublishAllPorts = true
	})
	open := b.inspect(t, openID)
	openStatus := parse[seen](t, b.control(t, nil, "status"))
	for _, c := range []struct {
		name      string
		job, open bool // whether the image had its way
	}{
		{"M06 ENTRYPOINT", status.Args[1] != "status", out == "evil"},
		{"M07 VOLUME", len(volumes(job)) > 0, len(volumes(open)) > 0},
		{"M08 HEALTHCHECK", job.State.Health != nil, open.State.Health != nil},
		{"M09 USER", status.UID != uid || status.GID != uid, openStatus.GID == 0},
		{"M09 groups of the image", fmt.Sprint(status.Groups) != fmt.Sprint([]int{uid}), status.UID == openStatus.UID},
		{"M10 ENV", strings.Contains(fmt.Sprint(status.Env), "evil"), strings.Contains(fmt.Sprint(openStatus.Env), "evil")},
		{"M11 STOPSIGNAL", job.Config.StopSignal != "SIGTERM", open.Config.StopSignal == "SIGCONT"},
		{"M12 LABEL", job.Config.Labels["ipdc.task"] != docker.Digest(task), open.Config.Labels["ipdc.task"] == "forged"},
		{"M20 EXPOSE", len(job.NetworkSettings.Ports) > 0, len(open.HostConfig.PortBindings)+len(open.Config.ExposedPorts) > 0},
		{"WORKDIR", status.Dir != "/", openStatus.Dir == "/evil"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.job {
				t.Error("the image had its way in a job")
			}
			if !c.open {
				t.Error("control: the image did not have its way, so the test shows nothing")
			}
		})
	}
}

// TestImageVolumesCannotBeWritten shows what a job finds where its image
// declares volumes: memory of its own limits, or nothing.
func TestImageVolumesCannotBeWritten(t *testing.T) {
	b := newBench(t)
	b.image = badImage(t, b.api, hostileFiles(), hostileConfig(nil))
	attacks := []string{"write:/data/x", "write:/data/below/x", "write:/b/x", "write:/etc/x"}
	job := b.try(t, append(attacks, "fill:/dev/shm/x,16777216")...)
	open := b.tryOpen(t, func(c *container.Config, h *container.HostConfig) { c.User = "0:0" }, attacks...)
	for _, a := range attacks {
		failed(t, "M07 "+a, job[a], "read-only file system")
		worked(t, "M07 "+a, open[a])
	}
	failed(t, "M07 /dev/shm", job["fill:/dev/shm/x,16777216"], "no space left on device")
}

// TestStopSignalOfImage shows the effect of M11: SIGCONT ends nothing.
func TestStopSignalOfImage(t *testing.T) {
	b := newBench(t)
	b.image = badImage(t, b.api, nil, v1.ConfigFile{Config: v1.Config{StopSignal: "SIGCONT"}})
	task := b.task("script")
	task.Env = append(task.Env, "DUMMY_SLEEP=1h", "DUMMY_STDOUT=ready\n")
	id := b.start(t, task)
	b.await(t, id, "ready")
	if err := b.ex.Stop(bounded(t), id, time.Minute); err != nil {
		t.Fatal(err)
	}
	if exit, err := b.ex.Wait(bounded(t), id); err != nil || exit.Code != 128+15 {
		t.Errorf("M11: Wait after Stop = %+v, %v, want an end by SIGTERM", exit, err)
	}
}

// TestForgedLabel gives an image the label of a job's container, and someone
// a container of that image and of the job's name: M12.
func TestForgedLabel(t *testing.T) {
	b := newBench(t)
	task := b.task("status")
	// The digest includes the image, which includes the label; so the image is
	// forged for a task that names another image, and by the name alone.
	forged := badImage(t, b.api, nil, v1.ConfigFile{Config: v1.Config{
		Entrypoint: []string{"/probe", "status"}, Labels: map[string]string{"ipdc.task": docker.Digest(task)},
	}})
	res, err := b.api.ContainerCreate(bounded(t), client.ContainerCreateOptions{
		Name: task.Name, Config: &container.Config{Image: forged.String()},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := b.inspect(t, res.ID).Config.Labels["ipdc.task"]; got != docker.Digest(task) {
		t.Fatalf("control: the forged label is %q", got)
	}
	if id := b.start(t, task); string(id) == res.ID {
		t.Error("M12: a container with a forged label was adopted")
	}
}

// TestCannotRun is M15 in all ways that an engine tells of. Of a file that is no
// program some tell only by its end, and jobs' programs are started by ipdc-guest,
// which does tell.
func TestCannotRun(t *testing.T) {
	b := newBench(t)
	image := badImage(t, b.api, hostileFiles(), v1.ConfigFile{})
	foreign := badImage(t, b.api, nil, v1.ConfigFile{Architecture: "s390x"})
	for name, c := range map[string]struct {
		image   jobspec.ImageID
		command string
		text    string
	}{
		"no such program":      {image, "/bin/python3", "/bin/python3"},
		"not in PATH":          {image, "python3", "python3"},
		"not executable":       {image, "/plain", "/plain"},
		"a directory":          {image, "/etc", "/etc"},
		"another architecture": {foreign, "/probe", "s390x"},
	} {
		t.Run("M15 "+name, func(t *testing.T) {
			task := b.task()
			task.Image, task.Command, task.First = c.image, []string{c.command}, true
			err := b.lifetime(t, task)
			if !errors.Is(err, jobspec.KindImageRun.Error()) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("run = %v, want %s with %q", err, jobspec.KindImageRun, c.text)
			}
		})
	}
	t.Run("R29 a program's own 127 is no failure to start", func(t *testing.T) {
		task := b.task("script")
		task.Env = append(task.Env, "DUMMY_EXIT=127", "DUMMY_STDERR=python3: not found\n")
		if err := b.lifetime(t, task); err != nil {
			t.Errorf("run = %v, want none", err)
		}
	})
}

// lifetime returns the first error of a container's life.
func (b *bench) lifetime(t *testing.T, task executor.Task) error {
	t.Helper()
	id, err := b.ex.Create(bounded(t), task)
	if err != nil {
		return err
	}
	t.Cleanup(func() {
		if err := b.ex.Remove(bounded(t), id); err != nil {
			t.Error(err)
		}
	})
	if err := b.ex.Start(bounded(t), id); err != nil {
		return err
	}
	_, err = b.ex.Wait(bounded(t), id)
	return err
}
