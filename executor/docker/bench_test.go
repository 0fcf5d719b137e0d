package docker_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/executor/docker"
	"github.com/ipdc/ipdc/executor/executortest"
	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/jobspec"
)

const uid = 70124

// bench has two ways to run the probe: as a job, behind every wall, and as a
// control, in a container that the test opens on purpose.
type bench struct {
	api   *client.Client
	ex    *docker.Executor
	image jobspec.ImageID
}

func newBench(t *testing.T) *bench {
	t.Helper()
	return newBenchOn(t, "")
}

// runtimes runs a test on the engine's default runtime and on gVisor.
func runtimes(t *testing.T, test func(t *testing.T, runtime string)) {
	t.Run("default", func(t *testing.T) { test(t, "") })
	t.Run("runsc", func(t *testing.T) {
		testenv.Runtime(t, "runsc")
		test(t, "runsc")
	})
}

// isolations runs a test at both levels of isolation.
func isolations(t *testing.T, test func(t *testing.T, strict bool)) {
	t.Run("standard", func(t *testing.T) { test(t, false) })
	t.Run("strict", func(t *testing.T) {
		testenv.Runtime(t, "runsc")
		test(t, true)
	})
}

func newBenchOn(t *testing.T, runtime string) *bench {
	t.Helper()
	return newBenchAt(t, testenv.Docker(t), runtime)
}

// newBenchAt is for an engine of the test's own.
func newBenchAt(t *testing.T, host, runtime string) *bench {
	t.Helper()
	api, err := client.New(client.WithHost(host))
	if err != nil {
		t.Fatal(err)
	}
	ex, err := docker.Open(t.Context(), docker.Config{Host: host, Runtime: runtime, Strict: "runsc"})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() {
		ex.Close()
		api.Close()
	})
	return &bench{api: api, ex: ex, image: probeImage(t, api)}
}

// bounded returns a context that also holds during cleanup.
func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func randomName() string { return prefix + strings.ToLower(rand.Text()[:12]) }

// task returns a job that runs the probe.
func (b *bench) task(args ...string) executor.Task {
	return executor.Task{
		Name: randomName(), Image: b.image, Command: append([]string{"/probe"}, args...),
		Env: []string{"HOME=/tmp", "PATH=/bin", "GOMAXPROCS=1"}, WorkDir: "/", UID: uid, GID: uid,
		CPU: 1000, Memory: 128 * jobspec.MiB, Pids: 64, NoFile: 128,
		Tmp: 4 * jobspec.MiB, Shm: 2 * jobspec.MiB, LogSize: jobspec.MiB,
	}
}

// start runs a job and removes it after the test.
func (b *bench) start(t *testing.T, task executor.Task) executor.ID {
	t.Helper()
	id, err := b.ex.Create(bounded(t), task)
	if err != nil {
		t.Fatalf("Create: %v", err)
	}
	t.Cleanup(func() {
		if err := b.ex.Remove(bounded(t), id); err != nil {
			t.Error(err)
		}
	})
	if err := b.ex.Start(bounded(t), id); err != nil {
		t.Fatalf("Start: %v", err)
	}
	return id
}

// job runs a job to its end and returns its output.
func (b *bench) job(t *testing.T, task executor.Task) string {
	t.Helper()
	id := b.start(t, task)
	exit, err := b.ex.Wait(bounded(t), id)
	if err != nil {
		t.Fatalf("Wait: %v", err)
	}
	var sink executortest.Sink
	if err := b.ex.Logs(bounded(t), id, &sink); err != nil {
		t.Fatalf("Logs: %v", err)
	}
	if exit.Code != 0 || exit.OOM {
		t.Fatalf("job ended with %+v: %s", exit, sink.Err.String())
	}
	return sink.Out.String()
}

// opening makes a control container more open than the engine's default.
type opening func(*container.Config, *container.HostConfig)

// control runs the probe in a container of its own making and returns the
// output.
func (b *bench) control(t *testing.T, open opening, args ...string) string {
	t.Helper()
	out, _ := b.controlID(t, open, args...)
	return out
}

func (b *bench) controlID(t *testing.T, open opening, args ...string) (string, string) {
	t.Helper()
	ctx := bounded(t)
	cfg := &container.Config{Image: b.image.String(), Entrypoint: []string{"/probe"}, Cmd: args}
	hc := &container.HostConfig{}
	if open != nil {
		open(cfg, hc)
	}
	res, err := b.api.ContainerCreate(ctx, client.ContainerCreateOptions{Name: randomName(), Config: cfg, HostConfig: hc})
	if err != nil {
		t.Fatalf("create control: %v", err)
	}
	t.Cleanup(func() {
		_, err := b.api.ContainerRemove(bounded(t), res.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		if err != nil {
			t.Errorf("remove control: %v", err)
		}
	})
	if _, err := b.api.ContainerStart(ctx, res.ID, client.ContainerStartOptions{}); err != nil {
		t.Fatalf("start control: %v", err)
	}
	if _, err := b.ex.Wait(ctx, executor.ID(res.ID)); err != nil {
		t.Fatalf("wait for control: %v", err)
	}
	stream, err := b.api.ContainerLogs(ctx, res.ID, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true})
	if err != nil {
		t.Fatalf("logs of control: %v", err)
	}
	defer stream.Close()
	var sink executortest.Sink
	if _, err := stdcopy.StdCopy(&sink.Out, &sink.Err, stream); err != nil {
		t.Fatalf("logs of control: %v", err)
	}
	if sink.Err.Len() > 0 {
		t.Logf("control: %s", sink.Err.String())
	}
	return sink.Out.String(), res.ID
}

// outcome mirrors the probe's Outcome, and seen its Status.
type (
	outcome struct {
		Err  string
		N    int64
		Text string
	}
	seen struct {
		UID, GID   int
		Groups     []int
		Proc       map[string]string
		OOMScore   string
		Env, Args  []string
		Dir        string
		Hostname   string
		Init       string
		Interfaces []string
		Routes     []string
		Mounts     map[string]string
		Cgroups    []string
		Sockets    []string
		Root       []string
		Stdin      string
		Resolver   string
		Core       uint64
		NoFile     uint64
	}
)

func parse[T any](t *testing.T, out string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatalf("probe said %q: %v", out, err)
	}
	return v
}

// try runs attacks as a job.
func (b *bench) try(t *testing.T, attacks ...string) map[string]outcome {
	t.Helper()
	return parse[map[string]outcome](t, b.job(t, b.task(append([]string{"try"}, attacks...)...)))
}

// tryOpen runs attacks as a control.
func (b *bench) tryOpen(t *testing.T, open opening, attacks ...string) map[string]outcome {
	t.Helper()
	return parse[map[string]outcome](t, b.control(t, open, append([]string{"try"}, attacks...)...))
}

// unguarded starts a container of the probe as the engine makes them, without
// any of our settings, which lasts as long as the test.
func (b *bench) unguarded(t *testing.T, change func(*container.Config), probe ...string) executor.ID {
	t.Helper()
	ctx := bounded(t)
	c := &container.Config{Image: b.image.String(), Entrypoint: append([]string{"/probe"}, probe...)}
	change(c)
	res, err := b.api.ContainerCreate(ctx, client.ContainerCreateOptions{Name: randomName(), Config: c})
	if err != nil {
		t.Fatal(err)
	}
	id := executor.ID(res.ID)
	t.Cleanup(func() {
		if err := b.ex.Remove(bounded(t), id); err != nil {
			t.Error(err)
		}
	})
	if err := b.ex.Start(ctx, id); err != nil {
		t.Fatal(err)
	}
	return id
}

// privileged opens everything. It does not use the engine's own word for it,
// which also asks for capabilities that an engine in a virtual machine may
// lack.
func privileged(c *container.Config, h *container.HostConfig) {
	c.User = "0:0"
	h.CapAdd, h.CapDrop = []string{"ALL"}, []string{"SYS_RESOURCE"}
	h.SecurityOpt = []string{"seccomp=unconfined", "apparmor=unconfined"}
	h.MaskedPaths, h.ReadonlyPaths = []string{}, []string{}
	h.Tmpfs = map[string]string{"/tmp": "rw,dev"}
	h.DeviceCgroupRules = []string{"b *:* rwm", "c *:* rwm"}
	h.Devices = []container.DeviceMapping{{PathOnHost: "/dev/kmsg", PathInContainer: "/dev/kmsg", CgroupPermissions: "rwm"}}
}

// asUser lets the control run as the user of a job.
func asUser(c *container.Config, _ *container.HostConfig) {
	c.User = "70124:70124"
}

// worked and failed check one attack's outcome.
func worked(t *testing.T, name string, o outcome) {
	t.Helper()
	if o.Err != "" {
		t.Errorf("control: %s = %q, want it to work in an open container", name, o.Err)
	}
}

func failed(t *testing.T, name string, o outcome, text ...string) {
	t.Helper()
	if o.Err == "" {
		t.Errorf("%s worked in a job: %+v", name, o)
		return
	}
	for _, s := range text {
		if strings.Contains(o.Err, s) {
			return
		}
	}
	if len(text) > 0 {
		t.Errorf("%s = %q, want %q", name, o.Err, text)
	}
}

// await blocks until the job wrote text.
func (b *bench) await(t *testing.T, id executor.ID, text string) {
	t.Helper()
	ctx, cancel := context.WithCancel(bounded(t))
	defer cancel()
	w := &watcher{text: text, found: cancel}
	if err := b.ex.Logs(ctx, id, w); !w.seen {
		t.Fatalf("Logs ended without %q: %v", text, err)
	}
}

// watcher is a sink that calls found once text came by on any stream.
type watcher struct {
	text  string
	found context.CancelFunc
	seen  bool
	got   strings.Builder
}

func (w *watcher) Stdout() io.Writer { return w }
func (w *watcher) Stderr() io.Writer { return w }

func (w *watcher) Write(b []byte) (int, error) {
	w.got.Write(b)
	if strings.Contains(w.got.String(), w.text) {
		w.seen = true
		w.found()
	}
	return len(b), nil
}

// engineRoot returns the directory of the engine's own files.
func (b *bench) engineRoot(t *testing.T) string {
	t.Helper()
	res, err := b.api.Info(bounded(t), client.InfoOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return res.Info.DockerRootDir
}
