package docker

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/system"
)

// Engine is what the making of a container depends on besides the Task.
type Engine struct {
	Arch         string // in Go's words
	CPUs         int    // of the host
	Runtime      string // the OCI runtime of containers, by its name in the engine
	Strict       string // likewise of strict tasks; "" = there is none
	CgroupDriver string // "cgroupfs", "systemd" or "none"
	CgroupV2     bool
}

// problem returns every reason why the sandbox would have a hole on such an
// engine, or would not be the one that was asked for.
func problem(si system.Info, runtime string) error {
	var bad []error
	need := func(ok bool, text string) {
		if !ok {
			bad = append(bad, errors.New(text))
		}
	}
	need(si.OSType == "linux", fmt.Sprintf("it runs %s containers, not linux", si.OSType))
	need(hasSeccomp(si.SecurityOptions), "it has no seccomp filter; use a kernel and an engine with seccomp and its default profile")
	need(si.MemoryLimit, "it cannot limit memory; enable the memory cgroup")
	need(si.PidsLimit, "it cannot limit processes; enable the pids cgroup")
	need(si.CPUCfsQuota, "it cannot limit processor time; enable the cpu cgroup with CFS quotas")
	need(slices.Contains(si.Plugins.Log, "local"), "it lacks the log driver local; use Docker 18.09 or later")
	_, known := si.Runtimes[runtime]
	need(runtime == "" || known, fmt.Sprintf("it does not know the runtime %q, only %s; register it in the engine's daemon.json",
		runtime, strings.Join(slices.Sorted(maps.Keys(si.Runtimes)), ", ")))
	return errors.Join(bad...)
}

// warnings returns what weakens the sandbox without opening it, and what jobs
// would miss.
func warnings(si system.Info, runtimes ...string) (text []string) {
	for _, runtime := range slices.Compact(runtimes) {
		rt := si.Runtimes[runtime]
		if strings.HasPrefix(path.Base(rt.Path), "runsc") && !slices.Contains(rt.Args, "--host-uds=open") && !slices.Contains(rt.Args, "--host-uds=all") {
			text = append(text, "jobs with a network, and tasks of gangs, cannot reach it: the runtime "+runtime+" lacks the argument --host-uds=open in the engine's daemon.json")
		}
	}
	if !si.SwapLimit {
		text = append(text, "swap cannot be limited: a task that reaches its memory limit may swap; boot with swapaccount=1 or without swap")
	}
	return text
}

// hasSeccomp reports whether options name seccomp with a profile. The entries
// are like "name=seccomp,profile=default"; the profile is "builtin" in later
// engines and a path where an administrator chose one.
func hasSeccomp(options []string) bool {
	for _, opt := range options {
		name, rest, _ := strings.Cut(opt, ",")
		if name == "name=seccomp" && rest != "profile=unconfined" {
			return true
		}
	}
	return false
}

// goArch turns the kernel's word for an architecture into Go's.
func goArch(machine string) string {
	switch machine {
	case "x86_64":
		return "amd64"
	case "aarch64":
		return "arm64"
	case "armv6l", "armv7l", "armhf":
		return "arm"
	case "i386", "i686":
		return "386"
	case "loongarch64":
		return "loong64"
	}
	return machine
}
