package docker_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/moby/moby/api/types/system"

	"github.com/ipdc/ipdc/executor/docker"
	"github.com/ipdc/ipdc/jobspec"
)

func goodEngine() system.Info {
	return system.Info{
		OSType: "linux", Architecture: "x86_64", NCPU: 2, ServerVersion: "20.10.24", DefaultRuntime: "runc",
		SecurityOptions: []string{"name=apparmor", "name=seccomp,profile=default"},
		MemoryLimit:     true, SwapLimit: true, PidsLimit: true, CPUCfsQuota: true, CgroupDriver: "cgroupfs", CgroupVersion: "1",
		Runtimes: map[string]system.RuntimeWithStatus{"runc": {}},
		Plugins:  system.PluginsInfo{Log: []string{"json-file", "local"}},
	}
}

func TestEngineProblems(t *testing.T) {
	if err := docker.Problem(goodEngine(), "runc"); err != nil {
		t.Errorf("Problem of a good engine = %v", err)
	}
	for text, spoil := range map[string]func(*system.Info){
		"windows containers":   func(i *system.Info) { i.OSType = "windows" },
		"no seccomp filter":    func(i *system.Info) { i.SecurityOptions = []string{"name=apparmor"} },
		"default profile":      func(i *system.Info) { i.SecurityOptions = []string{"name=seccomp,profile=unconfined"} },
		"limit memory":         func(i *system.Info) { i.MemoryLimit = false },
		"limit processes":      func(i *system.Info) { i.PidsLimit = false },
		"limit processor time": func(i *system.Info) { i.CPUCfsQuota = false },
		"log driver local":     func(i *system.Info) { i.Plugins.Log = []string{"json-file"} },
		"only io.containerd.runc.v2, kata": func(i *system.Info) {
			i.Runtimes = map[string]system.RuntimeWithStatus{"kata": {}, "io.containerd.runc.v2": {}}
		},
	} {
		info := goodEngine()
		spoil(&info)
		if err := docker.Problem(info, "runc"); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("Problem = %v, want %q", err, text)
		}
	}
}

// fakeEngine answers what a test wants, after it answered what Open asks.
type fakeEngine struct {
	info system.Info
	api  string // version
	// answer is asked for "METHOD /path", the path without the version.
	answer func(call string) (int, any)
	seen   func(body []byte) // of a container that is to be made; nil = nobody looks
	events http.HandlerFunc  // in place of answer; nil = none
}

func (f *fakeEngine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	if strings.HasPrefix(path, "/v1.") {
		path = path[strings.Index(path[1:], "/")+1:]
	}
	w.Header().Set("Api-Version", f.api)
	if path == "/events" && f.events != nil {
		f.events(w, r)
		return
	}
	status, body := http.StatusOK, any(nil)
	switch path {
	case "/_ping":
		return
	case "/info":
		body = f.info
	default:
		if b, err := io.ReadAll(r.Body); err == nil && f.seen != nil && path == "/containers/create" {
			f.seen(b)
		}
		status, body = f.answer(r.Method + " " + path)
	}
	if text, ok := body.(string); ok {
		body = map[string]string{"message": text}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if body != nil {
		_ = json.NewEncoder(w).Encode(body)
	}
}

// serve returns the address of f.
func (f *fakeEngine) serve(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(f)
	srv.Listener.Close()
	srv.Listener = l
	srv.Start()
	t.Cleanup(srv.Close)
	return "unix://" + l.Addr().String()
}

func openFake(t *testing.T, f *fakeEngine) *docker.Executor {
	t.Helper()
	if f.info.OSType == "" {
		f.info = goodEngine()
	}
	if f.api == "" {
		f.api = "1.41"
	}
	ex, err := docker.Open(t.Context(), docker.Config{Host: f.serve(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ex.Close() })
	return ex
}

func TestOpenRefusesEngines(t *testing.T) {
	old := &fakeEngine{info: goodEngine(), api: "1.39", answer: func(string) (int, any) { return 500, "x" }}
	open := &fakeEngine{info: goodEngine(), api: "1.41"}
	open.info.SecurityOptions = nil
	for name, host := range map[string]string{
		"API 1.39": old.serve(t), "no seccomp": open.serve(t), "nobody there": "unix://" + filepath.Join(t.TempDir(), "s"),
	} {
		ex, err := docker.Open(t.Context(), docker.Config{Host: host})
		if err == nil {
			ex.Close()
			t.Errorf("Open of an engine with %s = nil, want an error", name)
		}
	}
}

// TestStartErrors maps the texts of several engine versions.
func TestStartErrors(t *testing.T) {
	for _, c := range []struct {
		status int
		text   string
		want   jobspec.Kind // "" = a plain error, which the caller retries
	}{
		{400, `OCI runtime create failed: starting container process caused: exec: "x": executable file not found in $PATH`, jobspec.KindImageRun},
		{500, `failed to create task for container: failed to create shim task: OCI runtime create failed: exec format error`, jobspec.KindImageRun},
		{500, `OCI runtime create failed: error mounting "/a" to rootfs at "/b": not a directory: unknown`, jobspec.KindImageRun},
		{403, `permission denied`, jobspec.KindImageRun},
		{404, `No such container: x`, jobspec.KindLost},
		{409, `task x: already exists`, jobspec.KindLost},
		{500, `OCI runtime create failed: unable to apply cgroup configuration: no space left on device`, ""},
		{503, `the engine is stopping`, ""},
	} {
		ex := openFake(t, &fakeEngine{answer: func(call string) (int, any) {
			if strings.HasPrefix(call, "GET") {
				return 200, map[string]any{"Id": "x", "State": map[string]any{"Status": "created"}}
			}
			return c.status, c.text
		}})
		got := ex.Start(t.Context(), "x")
		f := jobspec.AsFailure(got)
		want := c.want
		if want == "" {
			want = jobspec.KindInternal
		}
		if got == nil || f.Kind != want || want == jobspec.KindImageRun && !strings.Contains(f.Detail, c.text) {
			t.Errorf("Start after %d %q = %v, want kind %s with the text", c.status, c.text, got, want)
		}
	}
}

// TestF13RemoveWaits lets a removal be in progress and the file system be busy.
func TestF13RemoveWaits(t *testing.T) {
	answers := []struct {
		status int
		text   string
	}{
		{500, "driver failed to remove root filesystem: device or resource busy"},
		{409, "removal of container x is already in progress"},
		{404, "No such container: x"},
	}
	var calls atomic.Int64
	ex := openFake(t, &fakeEngine{answer: func(string) (int, any) {
		a := answers[min(int(calls.Add(1)), len(answers))-1]
		return a.status, a.text
	}})
	if err := ex.Remove(t.Context(), "x"); err != nil || calls.Load() != 3 {
		t.Errorf("Remove = %v after %d calls, want none after 3", err, calls.Load())
	}
}

// TestF13RemoveGivenUp gives up on a container that stays busy while the engine
// is asked once more.
func TestF13RemoveGivenUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var calls atomic.Int64
	ended := make(chan struct{})
	ex := openFake(t, &fakeEngine{answer: func(string) (int, any) {
		if calls.Add(1) == 3 {
			cancel()
			<-ended
		}
		return 500, "driver failed to remove root filesystem: device or resource busy"
	}})
	err := ex.Remove(ctx, "x")
	close(ended)
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "busy") || calls.Load() != 3 {
		t.Errorf("Remove = %v after %d calls, want the context's end and the engine's text after 3", err, calls.Load())
	}
}

// TestEngineGone lets the engine vanish while a job runs; Wait gives up with
// its context's end and says so.
func TestEngineGone(t *testing.T) {
	ex := openFake(t, &fakeEngine{answer: func(string) (int, any) { return 503, "the engine is stopping" }})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := ex.Wait(ctx, "x"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Wait = %v, want the context's end", err)
	}
}

// TestF14OOMByEvent is for an engine that learns of the program's end first and
// of the reason later.
func TestF14OOMByEvent(t *testing.T) {
	for _, oom := range []bool{true, false} {
		ex := openFake(t, &fakeEngine{answer: func(call string) (int, any) {
			switch {
			case call == "GET /containers/x/json":
				return 200, map[string]any{"Id": "x", "Config": map[string]any{}, "State": map[string]any{
					"Status": "exited", "ExitCode": 137,
					"StartedAt": "2026-01-02T03:04:06Z", "FinishedAt": "2026-01-02T03:04:05Z",
				}}
			case call == "GET /events" && oom:
				return 200, map[string]any{"Type": "container", "Action": "oom"}
			case call == "GET /events":
				return 200, map[string]any{"Type": "container", "Action": "die", "Actor": map[string]any{"Attributes": map[string]string{"exitCode": "137"}}}
			}
			return 200, nil
		}})
		exit, err := ex.Wait(t.Context(), "x")
		if err != nil || exit.OOM != oom || exit.Code != 137 || exit.Started != exit.Finished {
			t.Errorf("Wait with an event (%v) = %+v, %v", oom, exit, err)
		}
	}
}

// A clock that was set back after a program's end hides nothing of it, and the
// engine is not waited for until it is that late again.
func TestEndAheadOfTheClock(t *testing.T) {
	finished := time.Now().Add(time.Hour)
	for name, stays := range map[string]bool{"the stream ends": false, "the stream stays open": true} {
		t.Run(name, func(t *testing.T) {
			ex := openFake(t, &fakeEngine{
				answer: func(string) (int, any) {
					return 200, map[string]any{"Id": "x", "Config": map[string]any{}, "State": map[string]any{
						"Status": "exited", "ExitCode": 143,
						"StartedAt": finished.Add(-time.Second).Format(time.RFC3339Nano), "FinishedAt": finished.Format(time.RFC3339Nano),
					}}
				},
				events: func(w http.ResponseWriter, r *http.Request) {
					until, err := strconv.ParseFloat(r.URL.Query().Get("until"), 64)
					if err != nil {
						t.Errorf("until = %v", err)
					}
					if noted := finished.Add(10 * time.Millisecond); until >= float64(noted.UnixNano())/1e9 {
						_ = json.NewEncoder(w).Encode(map[string]any{"Type": "container", "Action": "die", "Actor": map[string]any{"Attributes": map[string]string{"exitCode": "143"}}})
					}
					if stays {
						_ = http.NewResponseController(w).Flush()
						<-r.Context().Done()
					}
				},
			})
			ex.Hurry(6*time.Second, time.Minute, time.Minute)
			if exit, err := ex.Wait(t.Context(), "x"); err != nil || exit.Code != 143 {
				t.Errorf("Wait = %+v, %v, want the program's own end", exit, err)
			}
		})
	}
}

func TestEngineWarnsOfClosedSockets(t *testing.T) {
	for args, want := range map[string]int{"": 1, "--network=none": 1, "--host-uds=open": 0, "--host-uds=all": 0} {
		info := goodEngine()
		info.Runtimes["strict"] = system.RuntimeWithStatus{Runtime: system.Runtime{Path: "/usr/local/bin/runsc", Args: []string{args}}}
		if got := docker.Warnings(info, "strict"); len(got) != want {
			t.Errorf("Warnings of runsc with %q = %q, want %d", args, got, want)
		}
		if got := docker.Warnings(info, "runc"); len(got) != 0 {
			t.Errorf("Warnings of runc = %q, want none", got)
		}
	}
}

// A strict task gets the runtime of that name if the engine has it at that
// moment and it may have a kernel of its own, else a refusal that says what
// there is.
func TestStrictRuntime(t *testing.T) {
	for name, c := range map[string]struct {
		path   string // of the runtime, "" = the engine has none
		strict string // the setting
		ok     bool
	}{
		"there":         {"/usr/local/bin/runsc", "runsc", true},
		"missing":       {"", "runsc", false},
		"none wanted":   {"/usr/local/bin/runsc", "", false},
		"runc itself":   {"runc", "runc", false},
		"runc, renamed": {"/usr/bin/runc", "secure", false},
	} {
		t.Run(name, func(t *testing.T) {
			info := goodEngine()
			if c.path != "" {
				info.Runtimes[c.strict] = system.RuntimeWithStatus{Runtime: system.Runtime{Path: c.path}}
			}
			var made struct{ HostConfig struct{ Runtime string } }
			fake := &fakeEngine{info: info, api: "1.41", answer: func(call string) (int, any) {
				if strings.HasPrefix(call, "GET /images/") {
					return 200, map[string]any{"Id": "x", "Architecture": "amd64"}
				}
				return 201, map[string]any{"Id": "made"}
			}}
			fake.seen = func(b []byte) { _ = json.Unmarshal(b, &made) }
			ex, err := docker.Open(t.Context(), docker.Config{Host: fake.serve(t), Strict: c.strict})
			if err != nil {
				t.Fatal(err)
			}
			defer ex.Close()
			if in, err := ex.Info(t.Context()); err != nil || (in.Strict != "") != c.ok {
				t.Errorf("Info = %+v, %v, want a strict runtime: %v", in, err, c.ok)
			}
			task := goodTask()
			task.Strict = true
			_, err = ex.Create(t.Context(), task)
			f := jobspec.Failure{}
			if err != nil {
				f = jobspec.AsFailure(err)
			}
			switch {
			case c.ok && (err != nil || made.HostConfig.Runtime != c.strict):
				t.Errorf("Create = %v with the runtime %q, want %q", err, made.HostConfig.Runtime, c.strict)
			case !c.ok && (f.Kind != jobspec.KindPolicy || !strings.Contains(f.Detail, "runc") || !strings.Contains(f.Hint, "strict-runtime")):
				t.Errorf("Create = %+v, want E_POLICY with what there is and what to do", f)
			}
			task.Strict = false
			if _, err := ex.Create(t.Context(), task); err != nil || made.HostConfig.Runtime != "runc" {
				t.Errorf("control: Create = %v with the runtime %q, want the engine's default", err, made.HostConfig.Runtime)
			}
		})
	}
}
