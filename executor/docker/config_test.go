package docker_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/executor/docker"
	"github.com/ipdc/ipdc/jobspec"
)

var update = flag.Bool("update", false, "write the golden files anew")

var engine = docker.Engine{Arch: "amd64", CPUs: 2, Runtime: "runc"}

func goodTask() executor.Task {
	return executor.Task{
		Name:    "ipdc-node-job-0-1",
		Image:   jobspec.ImageID("sha256:" + strings.Repeat("ab", 32)),
		Command: []string{"python3", "/code/process.py"}, Env: []string{"PATH=/usr/bin:/bin", "HOME=/tmp", "SIZE=256"},
		WorkDir: "/outputs", UID: 70001, GID: 70002,
		Mounts: []executor.Mount{
			{Source: "/srv/ipdc/inputs/x", Target: "/inputs", ReadOnly: true},
			{Source: "/srv/ipdc/outputs/y:z,w", Target: "/outputs"},
		},
		CPU: 1500, Memory: 512 * jobspec.MiB, Pids: 256, NoFile: 1024,
		Tmp: 64 * jobspec.MiB, Shm: 16 * jobspec.MiB, LogSize: 10 * jobspec.MiB, CgroupParent: "/ipdc-node",
	}
}

// request is what a task becomes.
type request struct {
	Config     container.Config
	HostConfig container.HostConfig
}

func configOf(t *testing.T, task executor.Task, img docker.Image) request {
	t.Helper()
	cfg, hc, err := docker.ContainerConfig(task, engine, img)
	if err != nil {
		t.Fatalf("ContainerConfig: %v", err)
	}
	return request{cfg, hc}
}

func TestContainerConfigGolden(t *testing.T) {
	lone := goodTask()
	lone.Command, lone.Env, lone.Mounts, lone.CgroupParent = []string{"/probe"}, nil, nil, ""
	for name, c := range map[string]struct {
		task executor.Task
		img  docker.Image
	}{
		"plain":   {goodTask(), docker.Image{Arch: "amd64"}},
		"minimal": {lone, docker.Image{Arch: "amd64"}},
		"hostile image": {goodTask(), docker.Image{
			Arch:    "amd64",
			Env:     []string{"LD_PRELOAD=/evil.so", "PATH=/evil", "HTTP_PROXY=http://evil", "SIZE=1", "NO_EQUALS"},
			Volumes: []string{"/data", "/inputs", "/tmp", "/dev/shm", "/var/lib/../x/"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := json.MarshalIndent(configOf(t, c.task, c.img), "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", strings.ReplaceAll(name, " ", "-")+".json")
			if *update {
				if err := os.WriteFile(file, append(got, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(bytes.TrimSpace(want)), string(got)); diff != "" {
				t.Errorf("ContainerConfig differs from %s (-want +got):\n%s", file, diff)
			}
		})
	}
}

func TestContainerConfigRefuses(t *testing.T) {
	for name, img := range map[string]docker.Image{
		"M15 another architecture":       {Arch: "arm64"},
		"M07 volume at the root":         {Arch: "amd64", Volumes: []string{"/"}},
		"M07 volume at the root, masked": {Arch: "amd64", Volumes: []string{"/x/.."}},
		"M07 volume inside a mount":      {Arch: "amd64", Volumes: []string{"/inputs/x"}},
		"M07 relative volume":            {Arch: "amd64", Volumes: []string{"x"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := docker.ContainerConfig(goodTask(), engine, img)
			if !errors.Is(err, jobspec.KindImageRun.Error()) {
				t.Errorf("ContainerConfig = %v, want %s", err, jobspec.KindImageRun)
			}
		})
	}
}

func TestDigestTellsTasksApart(t *testing.T) {
	seen := map[string]string{}
	for name, change := range map[string]func(*executor.Task){
		"nothing": func(*executor.Task) {},
		"command": func(t *executor.Task) { t.Command = []string{"python3 /code/process.py"} },
		"limit":   func(t *executor.Task) { t.Tmp++ },
		"mount":   func(t *executor.Task) { t.Mounts[0].ReadOnly = false },
	} {
		task := goodTask()
		change(&task)
		d := docker.Digest(task)
		if d != docker.Digest(task) {
			t.Errorf("Digest after a change of %s differs between two calls", name)
		}
		if other, ok := seen[d]; ok {
			t.Errorf("Digest after a change of %s equals that of %s", name, other)
		}
		seen[d] = name
	}
}

// TestGuard is S13: each setting that opens the sandbox is refused by the
// second guard, whoever put it there.
func TestGuard(t *testing.T) {
	good := configOf(t, goodTask(), docker.Image{Arch: "amd64", Volumes: []string{"/data"}})
	if err := docker.Check(good.Config, good.HostConfig, []string{"/srv/ipdc"}, engine.Runtime); err != nil {
		t.Fatalf("check refuses what ContainerConfig makes: %v", err)
	}
	type (
		cfg    = container.Config
		host   = container.HostConfig
		change = func(c *cfg, h *host)
	)
	for name, spoil := range map[string]change{
		"Privileged":      func(c *cfg, h *host) { h.Privileged = true },
		"CapAdd":          func(c *cfg, h *host) { h.CapAdd = []string{"SYS_ADMIN"} },
		"CapDrop":         func(c *cfg, h *host) { h.CapDrop = nil },
		"Devices":         func(c *cfg, h *host) { h.Devices = []container.DeviceMapping{{}} },
		"DeviceRequests":  func(c *cfg, h *host) { h.DeviceRequests = []container.DeviceRequest{{}} },
		"SecurityOpt":     func(c *cfg, h *host) { h.SecurityOpt = append(h.SecurityOpt, "seccomp=unconfined") },
		"PidMode":         func(c *cfg, h *host) { h.PidMode = "host" },
		"IpcMode":         func(c *cfg, h *host) { h.IpcMode = "host" },
		"UTSMode":         func(c *cfg, h *host) { h.UTSMode = "host" },
		"UsernsMode":      func(c *cfg, h *host) { h.UsernsMode = "host" },
		"CgroupnsMode":    func(c *cfg, h *host) { h.CgroupnsMode = "host" },
		"NetworkMode":     func(c *cfg, h *host) { h.NetworkMode = "host" },
		"NetworkDisabled": func(c *cfg, h *host) { c.NetworkDisabled = false },
		"Sysctls":         func(c *cfg, h *host) { h.Sysctls = map[string]string{"a": "b"} },
		"VolumesFrom":     func(c *cfg, h *host) { h.VolumesFrom = []string{"x"} },
		"Binds":           func(c *cfg, h *host) { h.Binds = []string{"/:/host"} },
		"Runtime":         func(c *cfg, h *host) { h.Runtime = "evil" },
		"ExtraHosts":      func(c *cfg, h *host) { h.ExtraHosts = []string{"host.docker.internal:host-gateway"} },
		"DNSSearch":       func(c *cfg, h *host) { h.DNSSearch = []string{"x"} },
		"Links":           func(c *cfg, h *host) { h.Links = []string{"x"} },
		"PublishAllPorts": func(c *cfg, h *host) { h.PublishAllPorts = true },
		"RestartPolicy":   func(c *cfg, h *host) { h.RestartPolicy.Name = "always" },
		"AutoRemove":      func(c *cfg, h *host) { h.AutoRemove = true },
		"GroupAdd":        func(c *cfg, h *host) { h.GroupAdd = []string{"0"} },
		"Annotations":     func(c *cfg, h *host) { h.Annotations = map[string]string{"a": "b"} },
		"OomKillDisable":  func(c *cfg, h *host) { h.OomKillDisable = new(true) },
		"ReadonlyRootfs":  func(c *cfg, h *host) { h.ReadonlyRootfs = false },
		"Init":            func(c *cfg, h *host) { h.Init = nil },
		"MaskedPaths":     func(c *cfg, h *host) { h.MaskedPaths = h.MaskedPaths[1:] },
		"ReadonlyPaths":   func(c *cfg, h *host) { h.ReadonlyPaths = nil },
		"Memory":          func(c *cfg, h *host) { h.Memory = 0 },
		"MemorySwap":      func(c *cfg, h *host) { h.MemorySwap = -1 },
		"PidsLimit":       func(c *cfg, h *host) { h.PidsLimit = new(int64(-1)) },
		"NanoCpus":        func(c *cfg, h *host) { h.NanoCPUs = 0 },
		"Ulimits":         func(c *cfg, h *host) { h.Ulimits = h.Ulimits[1:] },
		"OomScoreAdj":     func(c *cfg, h *host) { h.OomScoreAdj = -500 },
		"CgroupParent":    func(c *cfg, h *host) { h.CgroupParent = "/ipdc/../.." },
		"LogConfig":       func(c *cfg, h *host) { h.LogConfig.Type = "syslog" },
		"Tmpfs":           func(c *cfg, h *host) { h.Tmpfs["/tmp"] = "rw,suid" },
		"User":            func(c *cfg, h *host) { c.User = "70001:0" },
		"User by name":    func(c *cfg, h *host) { c.User = "root" },
		"Entrypoint":      func(c *cfg, h *host) { c.Entrypoint = nil },
		"OpenStdin":       func(c *cfg, h *host) { c.OpenStdin = true },
		"Healthcheck":     func(c *cfg, h *host) { c.Healthcheck = nil },
		"StopSignal":      func(c *cfg, h *host) { c.StopSignal = "SIGCONT" },
		"Mounts elsewhere": func(c *cfg, h *host) {
			h.Mounts = append(h.Mounts, mount.Mount{Type: mount.TypeBind, Source: "/var/run/docker.sock", Target: "/s"})
		},
		"Mounts of the kernel's trees": func(c *cfg, h *host) {
			h.Mounts = append(h.Mounts, mount.Mount{Type: mount.TypeBind, Source: "/proc/1", Target: "/s"})
		},
		"Mounts volume": func(c *cfg, h *host) { h.Mounts[0].Type = mount.TypeVolume },
		"Mounts.BindOptions": func(c *cfg, h *host) {
			h.Mounts[0].BindOptions.Propagation = mount.PropagationRShared
		},
	} {
		t.Run("S13 "+name, func(t *testing.T) {
			r := configOf(t, goodTask(), docker.Image{Arch: "amd64"})
			spoil(&r.Config, &r.HostConfig)
			err := docker.Check(r.Config, r.HostConfig, []string{"/srv/ipdc"}, engine.Runtime)
			field, _, _ := strings.Cut(name, " ")
			if err == nil || !strings.Contains(err.Error(), field) {
				t.Errorf("check = %v, want a refusal that names %s", err, field)
			}
		})
	}
}

// TestGuardCoversEveryField sets each field of the engine's host config that
// ContainerConfig leaves alone, so that a field of a later API is refused
// before someone thinks of it.
func TestGuardCoversEveryField(t *testing.T) {
	good := configOf(t, goodTask(), docker.Image{Arch: "amd64"})
	count := 0
	var visit func(v reflect.Value, name string)
	visit = func(v reflect.Value, name string) {
		if v.Kind() == reflect.Struct {
			for i := range v.NumField() {
				visit(v.Field(i), v.Type().Field(i).Name)
			}
			return
		}
		if !v.IsZero() {
			return
		}
		fill(v)
		count++
		if err := docker.Check(good.Config, good.HostConfig, nil, engine.Runtime); err == nil {
			t.Errorf("check accepts %s = %v", name, v)
		}
		v.SetZero()
	}
	visit(reflect.ValueOf(&good.HostConfig).Elem(), "")
	if count < 40 {
		t.Errorf("visited %d fields, want most of HostConfig", count)
	}
}

// fill gives v any value that is not empty.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString("x")
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem())
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Array:
		fill(v.Index(0))
	case reflect.Uint, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(1)
	default:
		v.SetInt(1)
	}
}

// What a mount shows is told to the engine in fields of their own, however its
// path is spelled.
func TestC49MountsAreNoStrings(t *testing.T) {
	task := goodTask()
	odd := executor.Mount{Source: "/srv/ipdc/a:/etc:rw,source=/", Target: "/odd", ReadOnly: true}
	task.Mounts = append(task.Mounts, odd)
	r := configOf(t, task, docker.Image{Arch: "amd64"})
	if len(r.HostConfig.Binds) > 0 {
		t.Errorf("Binds = %q, want none", r.HostConfig.Binds)
	}
	for _, m := range r.HostConfig.Mounts {
		if m.Target == odd.Target && m.Source == odd.Source && m.ReadOnly && m.Type == mount.TypeBind {
			return
		}
	}
	t.Errorf("Mounts = %+v, want %+v among them", r.HostConfig.Mounts, odd)
}
