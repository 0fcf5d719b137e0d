package docker

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/jobspec"
)

// taskLabel holds the digest of the Task that a container was made from. It
// decides one thing, whether Create adopts a container of the name it was
// given or replaces it. An image cannot set it: labels of the create request
// win over those of the image.
const taskLabel = "ipdc.task"

// hostname is the same in every container, since a program can see it.
const hostname = "job"

// oomScore makes the kernel kill a job before any process of the host.
const oomScore = 500

// Image is what ContainerConfig must know of an image to undo it.
type Image struct {
	Arch    string   // in Go's words
	Env     []string // NAME=value
	Volumes []string // declared mount points
}

// ContainerConfig returns what the engine is asked to make for t. It is pure.
// The error is of kind E_IMAGE_RUN when the image cannot be run safely.
//
// /tmp is executable on purpose: a program may execute what it wrote to
// /outputs in any case, and just-in-time compilers load their objects from
// /tmp. nosuid on bind mounts is held by no-new-privileges and nodev by the
// device cgroup and the missing CAP_MKNOD, as the engine's API has no words
// for mount flags.
func ContainerConfig(t executor.Task, engine Engine, img Image) (container.Config, container.HostConfig, error) {
	tmpfs, err := tmpfsMounts(t, img.Volumes)
	if err != nil {
		return container.Config{}, container.HostConfig{}, err
	}
	if img.Arch != engine.Arch {
		return container.Config{}, container.HostConfig{}, jobspec.KindImageRun.Errorf(
			"exec format error: the image is made for %s, this engine runs %s", img.Arch, engine.Arch)
	}
	return processConfig(t, img), sandboxConfig(t, engine, tmpfs), nil
}

// processConfig is what runs.
func processConfig(t executor.Task, img Image) container.Config {
	return container.Config{
		Image:           t.Image.String(),
		Hostname:        hostname,
		User:            fmt.Sprintf("%d:%d", t.UID, t.GID),
		Env:             environment(t.Env, img.Env),
		Entrypoint:      t.Command[:1:1],
		Cmd:             t.Command[1:],
		WorkingDir:      t.WorkDir,
		Healthcheck:     &container.HealthConfig{Test: []string{"NONE"}},
		StopSignal:      "SIGTERM",
		NetworkDisabled: true,
		Labels:          map[string]string{taskLabel: digest(t)},
	}
}

// sandboxConfig is the wall around it. IpcMode none takes the engine's
// /dev/shm away, whose inodes cannot be bounded; tmpfs brings ours.
// NetworkDisabled above keeps the host's resolv.conf out, which NetworkMode
// alone would show.
func sandboxConfig(t executor.Task, engine Engine, tmpfs map[string]string) container.HostConfig {
	return container.HostConfig{
		NetworkMode:    "none",
		IpcMode:        container.IPCModeNone,
		CgroupnsMode:   container.CgroupnsModePrivate,
		CapDrop:        []string{"ALL"},
		SecurityOpt:    []string{"no-new-privileges"},
		ReadonlyRootfs: true,
		Init:           new(!t.First),
		OomScoreAdj:    oomScore,
		RestartPolicy:  container.RestartPolicy{Name: container.RestartPolicyDisabled},
		LogConfig:      logConfig(t.LogSize),
		Tmpfs:          tmpfs,
		ShmSize:        int64(t.Shm), // the engine fills in its own size otherwise
		Mounts:         bindMounts(t.Mounts),
		MaskedPaths:    maskedPaths(engine.CPUs),
		ReadonlyPaths:  readonlyPaths(),
		Runtime:        engine.runtime(t),
		Resources:      resources(t),
	}
}

func resources(t executor.Task) container.Resources {
	return container.Resources{
		CgroupParent: t.CgroupParent,
		NanoCPUs:     int64(t.CPU) * 1e6,
		Memory:       int64(t.Memory),
		MemorySwap:   int64(t.Memory), // the sum of both, so no swap
		PidsLimit:    new(t.Pids),
		Ulimits: []*container.Ulimit{
			{Name: "core", Soft: 0, Hard: 0},
			{Name: "nofile", Soft: t.NoFile, Hard: t.NoFile},
		},
	}
}

// environment returns exactly env. The engine adds the variables of the image
// and a PATH and HOSTNAME of its own to what it is given, and takes an entry
// without "=" as the wish to leave that name unset.
func environment(env, image []string) []string {
	out := slices.Clone(env)
	set := map[string]bool{}
	for _, e := range env {
		name, _, _ := strings.Cut(e, "=")
		set[name] = true
	}
	for _, e := range append([]string{"PATH", "HOSTNAME"}, image...) {
		name, _, _ := strings.Cut(e, "=")
		if name != "" && !set[name] {
			out = append(out, name)
			set[name] = true
		}
	}
	return out
}

// tmpfsMounts returns the writable memory of a container and an empty
// read-only mount over each volume that the image declares. The engine would
// make an unbounded host directory for such a volume.
func tmpfsMounts(t executor.Task, volumes []string) (map[string]string, error) {
	out := map[string]string{
		"/tmp":     writable(t.Tmp, "exec"),
		"/dev/shm": writable(t.Shm, "noexec"),
	}
	for _, v := range volumes {
		v = path.Clean(v)
		if !path.IsAbs(v) || v == "/" {
			return nil, jobspec.KindImageRun.Errorf("the image declares the volume %q, which cannot be covered", v)
		}
		covered := out[v] != ""
		for _, m := range t.Mounts {
			covered = covered || m.Target == v
			if strings.HasPrefix(v, m.Target+"/") {
				return nil, jobspec.KindImageRun.Errorf("the image declares the volume %q inside %s, which belongs to the job", v, m.Target)
			}
		}
		if !covered {
			out[v] = "ro,nosuid,nodev,noexec,size=4096,nr_inodes=64,mode=0755"
		}
	}
	return out, nil
}

// writable returns tmpfs options. Files of no bytes take memory too, so their
// number is bounded: one for each page, and some for a tree of directories.
func writable(size jobspec.Bytes, exec string) string {
	return fmt.Sprintf("rw,nosuid,nodev,%s,size=%d,nr_inodes=%d,mode=1777", exec, size, int64(size)/4096+1024)
}

// bindMounts uses the structured form, in which a missing source is an error
// and a path may hold any character.
func bindMounts(mounts []executor.Mount) []mount.Mount {
	var out []mount.Mount
	for _, m := range mounts {
		out = append(out, mount.Mount{
			Type: mount.TypeBind, Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly,
			BindOptions: &mount.BindOptions{Propagation: mount.PropagationRPrivate},
		})
	}
	return out
}

func logConfig(size jobspec.Bytes) container.LogConfig {
	return container.LogConfig{Type: "local", Config: map[string]string{
		"max-size": strconv.FormatInt(int64(size)/2, 10),
		"max-file": "2",
		"compress": "false",
	}}
}

// maskedPaths returns the kernel's files that a program must not read. It is
// given in full because an older engine's own list lacks the later entries.
func maskedPaths(cpus int) []string {
	paths := []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kallsyms", "/proc/kcore",
		"/proc/keys", "/proc/latency_stats", "/proc/sched_debug", "/proc/schedstat", "/proc/scsi",
		"/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
	}
	for i := range cpus {
		paths = append(paths, fmt.Sprintf("/sys/devices/system/cpu/cpu%d/thermal_throttle", i))
	}
	return paths
}

func readonlyPaths() []string {
	return []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
}

// digest identifies a Task. The leading number changes when the same Task
// must no longer be taken for the same container.
func digest(t executor.Task) string {
	b, err := json.Marshal(t)
	if err != nil {
		panic(err) // a Task holds only text and numbers
	}
	sum := sha256.Sum256(append([]byte("1 "), b...))
	return hex.EncodeToString(sum[:])
}
