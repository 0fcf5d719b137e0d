package docker_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/system"

	"github.com/ipdc/ipdc/executor/docker"
)

// This machine has no graphics processor, so what an engine is asked for is
// held here, and not what it does.
func TestCountGPUs(t *testing.T) {
	folder := t.TempDir()
	for _, name := range []string{"0000:01:00.0", "0000:02:00.0"} {
		if err := os.Mkdir(filepath.Join(folder, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	with := system.Info{Runtimes: map[string]system.RuntimeWithStatus{"runc": {}, "nvidia": {}}}
	without := system.Info{Runtimes: map[string]system.RuntimeWithStatus{"runc": {}}}
	for _, test := range []struct {
		info   system.Info
		folder string
		want   int
	}{{with, folder, 2}, {without, folder, 0}, {with, folder + "x", 0}} {
		if got := docker.CountGPUs(test.info, test.folder); got != test.want {
			t.Errorf("CountGPUs(%v, %s) = %d, want %d", test.info.Runtimes, test.folder, got, test.want)
		}
	}
}

func TestFreeGPUs(t *testing.T) {
	for _, test := range []struct {
		total int
		used  []string
		n     int
		want  []string
	}{
		{4, nil, 2, []string{"0", "1"}},
		{4, []string{"0", "2"}, 2, []string{"1", "3"}},
		{4, []string{"0", "2"}, 3, nil},
		{0, nil, 1, nil},
	} {
		if got := docker.FreeGPUs(test.total, test.used, test.n); !slices.Equal(got, test.want) {
			t.Errorf("FreeGPUs(%d, %v, %d) = %v, want %v", test.total, test.used, test.n, got, test.want)
		}
	}
}

// The guard takes processors that are named, and no other wish for devices.
func TestGuardOfGPUs(t *testing.T) {
	named := func() container.DeviceRequest {
		return container.DeviceRequest{Driver: "nvidia", DeviceIDs: []string{"0", "2"}, Capabilities: [][]string{{"gpu"}}}
	}
	check := func(d container.DeviceRequest) error {
		good := configOf(t, goodTask(), docker.Image{Arch: "amd64"})
		good.HostConfig.DeviceRequests = []container.DeviceRequest{d}
		return docker.Check(good.Config, good.HostConfig, []string{"/srv/ipdc"}, engine.Runtime)
	}
	if err := check(named()); err != nil {
		t.Errorf("check refuses named processors: %v", err)
	}
	for name, spoil := range map[string]func(*container.DeviceRequest){
		"all":          func(d *container.DeviceRequest) { d.Count, d.DeviceIDs = -1, nil },
		"none":         func(d *container.DeviceRequest) { d.DeviceIDs = nil },
		"a device":     func(d *container.DeviceRequest) { d.DeviceIDs = []string{"all"} },
		"driver":       func(d *container.DeviceRequest) { d.Driver = "cdi" },
		"capabilities": func(d *container.DeviceRequest) { d.Capabilities = [][]string{{"gpu", "utility"}} },
		"options":      func(d *container.DeviceRequest) { d.Options = map[string]string{"a": "b"} },
	} {
		d := named()
		if spoil(&d); check(d) == nil {
			t.Errorf("check accepts %s: %+v", name, d)
		}
	}
}
