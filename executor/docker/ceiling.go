package docker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/ipdc/ipdc/jobspec"
)

// cgroupRoot is where the kernel shows control groups.
const cgroupRoot = "/sys/fs/cgroup"

// ceilingPids bounds the processes of all jobs of a node together, below the
// kernel's usual limit of 32768 for the whole host.
const ceilingPids = 16384

// cpuPeriod is the kernel's usual scheduling period in microseconds.
const cpuPeriod = 100_000

// All jobs together have a tenth of the weight of one other group of processes,
// such as the host's IPFS node: on an idle machine they have all of it, on a
// busy one they step back, however many they are.
const (
	weightShares = "102" // of 1024
	weightV2     = "10"  // of 100
)

var ceilingName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{0,63}$`)

// Ceiling is one control group that all containers of a node lie in, so that
// together they cannot starve the host. The zero value is not usable; see
// [Executor.Ceiling].
type Ceiling struct {
	Root    string // cgroup file system
	Systemd bool   // the engine's driver is systemd
	V2      bool
	// Run executes systemctl with these arguments.
	Run func(ctx context.Context, args ...string) error
}

// EnsureCeiling makes or changes the control group of that name, with hard
// limits on processor time and memory, and returns what Task.CgroupParent must
// be for a container to lie in it. When it cannot, which is usual for a
// process without privileges, parent is empty and the error says why and what
// to do; jobs can run without a ceiling, each below its own limits.
func (e *Executor) EnsureCeiling(ctx context.Context, name string, cpu jobspec.CPU, mem jobspec.Bytes) (parent string, err error) {
	return e.ceiling().Ensure(ctx, name, cpu, mem)
}

// RemoveCeiling removes the control group of that name. No container may be
// left in it. Removing a missing one does nothing.
func (e *Executor) RemoveCeiling(ctx context.Context, name string) error {
	return e.ceiling().Remove(ctx, name)
}

func (e *Executor) ceiling() Ceiling {
	return Ceiling{
		Root: cgroupRoot, Systemd: e.engine.CgroupDriver == "systemd", V2: e.engine.CgroupV2, Run: systemctl,
	}
}

// Ensure is EnsureCeiling of an executor.
func (c Ceiling) Ensure(ctx context.Context, name string, cpu jobspec.CPU, mem jobspec.Bytes) (string, error) {
	if !ceilingName.MatchString(name) || cpu <= 0 || mem <= 0 {
		return "", fmt.Errorf("set ceiling %q to %d/1000 cpu and %d bytes: name or limit is not valid", name, cpu, mem)
	}
	parent, err := "/"+name, error(nil)
	switch {
	case c.Systemd:
		parent = name + ".slice"
		err = c.slice(ctx, parent, cpu, mem)
	case c.V2:
		err = c.ensureV2(name, cpu, mem)
	default:
		err = c.ensureV1(name, cpu, mem)
	}
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, exec.ErrNotFound) {
		err = fmt.Errorf("%w (jobs keep their own limits but share no ceiling; run the node as root, or let the administrator delegate a control group)", err)
	}
	if err != nil {
		return "", fmt.Errorf("set ceiling %s: %w", name, err)
	}
	return parent, nil
}

// setting is a file of a control group and what to write to it.
type setting struct{ file, value string }

func (c Ceiling) ensureV1(name string, cpu jobspec.CPU, mem jobspec.Bytes) error {
	bytes := strconv.FormatInt(int64(mem), 10)
	for controller, settings := range map[string][]setting{
		"memory": {{"memory.limit_in_bytes", bytes}, {"memory.memsw.limit_in_bytes", bytes}},
		"cpu":    {{"cpu.cfs_period_us", strconv.Itoa(cpuPeriod)}, {"cpu.cfs_quota_us", quota(cpu)}, {"cpu.shares", weightShares}},
		"pids":   {{"pids.max", strconv.Itoa(ceilingPids)}},
		"blkio":  {{"blkio.weight", "100"}, {"blkio.bfq.weight", "100"}}, // of 1000; with a scheduler that heeds it
	} {
		if controller == "blkio" && missing(filepath.Join(c.Root, controller)) {
			continue
		}
		dir := filepath.Join(c.Root, controller, name)
		if err := makeGroup(dir); err != nil {
			return err
		}
		err := writeSettings(dir, settings)
		if err != nil && controller == "memory" {
			// Memory alone must stay below memory with swap at every moment:
			// a ceiling that rises needs the other order.
			err = writeSettings(dir, []setting{settings[1], settings[0]})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c Ceiling) ensureV2(name string, cpu jobspec.CPU, mem jobspec.Bytes) error {
	// A controller has to be handed down before a child can use it.
	err := writeSettings(c.Root, []setting{{"cgroup.subtree_control", "+cpu +memory +pids"}})
	if err != nil {
		return err
	}
	_ = writeSettings(c.Root, []setting{{"cgroup.subtree_control", "+io"}}) // not in every kernel
	dir := filepath.Join(c.Root, name)
	if err := makeGroup(dir); err != nil {
		return err
	}
	return writeSettings(dir, []setting{
		{"memory.max", strconv.FormatInt(int64(mem), 10)},
		{"memory.swap.max", "0"},
		{"cpu.max", fmt.Sprintf("%s %d", quota(cpu), cpuPeriod)},
		{"cpu.weight", weightV2}, {"io.weight", "default " + weightV2}, {"io.bfq.weight", weightV2},
		{"pids.max", strconv.Itoa(ceilingPids)},
	})
}

// slice lets systemd make the control group, as it owns the tree.
func (c Ceiling) slice(ctx context.Context, slice string, cpu jobspec.CPU, mem jobspec.Bytes) error {
	if err := c.Run(ctx, "start", slice); err != nil {
		return err
	}
	return c.Run(ctx, "set-property", "--runtime", slice,
		"CPUQuota="+strconv.FormatFloat(float64(cpu)/10, 'f', -1, 64)+"%",
		"MemoryMax="+strconv.FormatInt(int64(mem), 10), "MemorySwapMax=0",
		"TasksMax="+strconv.Itoa(ceilingPids), "CPUWeight="+weightV2, "IOWeight="+weightV2)
}

// Remove is RemoveCeiling of an executor.
func (c Ceiling) Remove(ctx context.Context, name string) error {
	if !ceilingName.MatchString(name) {
		return fmt.Errorf("remove ceiling %q: the name is not valid", name)
	}
	if c.Systemd {
		if err := c.Run(ctx, "stop", name+".slice"); err != nil {
			return fmt.Errorf("remove ceiling %s: %w", name, err)
		}
		return nil
	}
	dirs := []string{filepath.Join(c.Root, name)}
	if !c.V2 {
		// The engine makes the parent in every hierarchy, not only in ours.
		var err error
		if dirs, err = filepath.Glob(filepath.Join(c.Root, "*", name)); err != nil {
			return fmt.Errorf("remove ceiling %s: %w", name, err)
		}
	}
	for _, dir := range dirs {
		if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove ceiling %s: %w", name, err)
		}
	}
	return nil
}

// quota is processor time in microseconds for each period.
func quota(cpu jobspec.CPU) string {
	return strconv.FormatInt(int64(cpu)*cpuPeriod/1000, 10)
}

func missing(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}

func makeGroup(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

func writeSettings(dir string, settings []setting) error {
	for _, s := range settings {
		if strings.Contains(s.file, "io.") && missing(filepath.Join(dir, s.file)) {
			continue // not each disk is shared by weight
		}
		err := os.WriteFile(filepath.Join(dir, s.file), []byte(s.value), 0o644)
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

func systemctl(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "systemctl", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("systemctl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
