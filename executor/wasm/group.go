package wasm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/jobspec"
)

// overhead is what the runner may use beside the module's own memory: the
// compiler takes most of it.
const overhead = 256 * jobspec.MiB

// minThreads is how many threads the runner's own runtime needs.
const minThreads = 32

const (
	groupRoot = "/sys/fs/cgroup"
	cpuPeriod = 100_000 // microseconds
)

// setting is a file of a control group and what to write to it.
type setting struct{ file, value string }

// groups returns the directories of a task's control groups, with their
// limits: one for each hierarchy of version 1, one in all for version 2.
func groups(t executor.Task) map[string][]setting {
	memory := strconv.FormatInt(int64(t.Memory+overhead), 10)
	quota := strconv.FormatInt(max(int64(t.CPU)*cpuPeriod/1000, 1000), 10)
	pids := strconv.FormatInt(max(t.Pids, minThreads), 10)
	if _, err := os.Stat(filepath.Join(groupRoot, "cgroup.controllers")); err == nil {
		return map[string][]setting{
			group("", t): {{"memory.max", memory}, {"memory.swap.max", "0"}, {"cpu.max", quota + " " + strconv.Itoa(cpuPeriod)}, {"pids.max", pids}},
		}
	}
	return map[string][]setting{
		group("memory", t): {{"memory.limit_in_bytes", memory}, {"memory.memsw.limit_in_bytes", memory}},
		group("cpu", t):    {{"cpu.cfs_period_us", strconv.Itoa(cpuPeriod)}, {"cpu.cfs_quota_us", quota}},
		group("pids", t):   {{"pids.max", pids}},
	}
}

// group returns the directory of a task's group in one hierarchy: in the
// node's ceiling where that is there.
func group(controller string, t executor.Task) string {
	top := filepath.Join(groupRoot, controller)
	if parent := filepath.Join(top, filepath.Clean("/"+t.CgroupParent)); t.CgroupParent != "" {
		if _, err := os.Stat(parent); err == nil {
			top = parent
		}
	}
	return filepath.Join(top, "wasm-"+t.Name)
}

// makeGroups makes the task's control groups. Without the right to do so, or
// without control groups at all, there are none: see limits.
func makeGroups(t executor.Task) (made bool, err error) {
	for dir, settings := range groups(t) {
		parent := filepath.Dir(dir)
		// A controller has to be handed down before a child can use it. What
		// it fails with shows when the limits are written.
		_ = os.WriteFile(filepath.Join(parent, "cgroup.subtree_control"), []byte("+cpu +memory +pids"), 0)
		err := os.Mkdir(dir, 0o755)
		if err == nil || errors.Is(err, fs.ErrExist) {
			err = writeSettings(dir, settings)
		}
		if err != nil {
			removeGroups(t)
			if unprivileged(err) {
				return false, nil
			}
			return false, fmt.Errorf("make control group: %w", err)
		}
	}
	return true, nil
}

func unprivileged(err error) bool {
	return os.Geteuid() != 0 || errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), "read-only file system")
}

func writeSettings(dir string, settings []setting) error {
	for _, s := range settings {
		err := os.WriteFile(filepath.Join(dir, s.file), []byte(s.value), 0)
		// Swap is not accounted on every kernel; then none can be limited.
		if err != nil && strings.Contains(s.file, "sw") && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// joinGroups moves the calling process into the task's groups.
func joinGroups(t executor.Task) error {
	for dir := range groups(t) {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0); err != nil {
			return fmt.Errorf("join control group: %w", err)
		}
	}
	return nil
}

// removeGroups removes the task's groups, which are empty by now.
func removeGroups(t executor.Task) {
	for dir := range groups(t) {
		_ = os.Remove(dir) // the one error that matters is that it is not there
	}
}

// killedForMemory reports whether the kernel killed a process of the task for
// its group's limit.
func killedForMemory(t executor.Task) bool {
	for dir := range groups(t) {
		for _, file := range []string{"memory.events", "memory.oom_control"} {
			b, err := os.ReadFile(filepath.Join(dir, file))
			if err != nil {
				continue
			}
			for _, line := range strings.Split(string(b), "\n") {
				if n, ok := strings.CutPrefix(line, "oom_kill "); ok && n != "0" {
					return true
				}
			}
		}
	}
	return false
}
