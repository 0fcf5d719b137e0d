package docker

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/moby/moby/client"
)

// Facts are what an administrator wants to know of an engine. They are for
// people; nothing is decided by them.
type Facts struct {
	Host          string   `json:"host"`
	Version       string   `json:"version"`
	API           string   `json:"api"` // agreed on by both sides
	Runc          string   `json:"runc"`
	Containerd    string   `json:"containerd,omitempty"`
	Kernel        string   `json:"kernel"`
	System        string   `json:"system"`
	Storage       string   `json:"storage"`
	CgroupDriver  string   `json:"cgroup_driver"`
	CgroupVersion string   `json:"cgroup_version"`
	Runtimes      []string `json:"runtimes"` // names, sorted
	RootDir       string   `json:"root_dir"`
	Problem       string   `json:"problem,omitempty"`     // why no task can run on it
	Warnings      []string `json:"warnings,omitempty"`    // what weakens the sandbox
	Strict        string   `json:"strict,omitempty"`      // the runtime of strict tasks; "" = there is none
	StrictPath    string   `json:"strict_path,omitempty"` // the program that it is, on the engine's machine
	Benchmark     []Item   `json:"benchmark"`             // sections 2 and 5 of CIS's
}

// Inspect asks the engine at host, "" for the default one, about itself and the
// OCI runtimes that tasks would have, "" for its default, and strict tasks, and returns an
// error only when it does not answer.
func Inspect(ctx context.Context, host, runtime, strict string) (Facts, error) {
	ctx, cancel := context.WithTimeout(ctx, usual.ask)
	defer cancel()
	if host == "" {
		host = client.DefaultDockerHost
	}
	f := Facts{Host: host}
	api, err := client.New(client.WithHost(host))
	if err != nil {
		return f, fmt.Errorf("engine at %s: %w", host, err)
	}
	defer api.Close()
	if _, err := api.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true}); err != nil {
		return f, fmt.Errorf("engine at %s: %w", host, engineError(err))
	}
	res, err := api.Info(ctx, client.InfoOptions{})
	if err != nil {
		return f, fmt.Errorf("engine at %s: %w", host, engineError(err))
	}
	si := res.Info
	f.Version, f.API, f.Kernel, f.System = si.ServerVersion, api.ClientVersion(), si.KernelVersion, si.OperatingSystem
	f.Storage, f.CgroupDriver, f.CgroupVersion, f.RootDir = si.Driver, si.CgroupDriver, si.CgroupVersion, si.DockerRootDir
	f.Runtimes = slices.Sorted(maps.Keys(si.Runtimes))
	f.Strict, f.Benchmark = strictRuntime(si, strict), benchmark(si, host)
	f.StrictPath = si.Runtimes[f.Strict].Path
	f.Warnings = warnings(si, cmp.Or(runtime, si.DefaultRuntime), f.Strict)
	if err := problem(si, runtime); err != nil {
		f.Problem = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	v, err := api.ServerVersion(ctx, client.ServerVersionOptions{})
	if err != nil {
		return f, fmt.Errorf("engine at %s: %w", host, engineError(err))
	}
	for _, c := range v.Components {
		version := c.Version
		if full := c.Details["GitCommit"]; strings.HasPrefix(full, version) { // distributions put their package's version here
			version = full
		}
		switch c.Name {
		case "runc":
			f.Runc = version
		case "containerd":
			f.Containerd = version
		}
	}
	return f, nil
}
