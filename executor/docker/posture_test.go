package docker_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/internal/testenv"
)

// TestPosture compares what the host's kernel says of a running job with
// testdata/posture: of its first process or, strict, of the kernel around it.
func TestPosture(t *testing.T) {
	testenv.Root(t)
	isolations(t, func(t *testing.T, strict bool) {
		b := newBench(t)
		task, _, _ := b.mounted(t, "script")
		task.Strict = strict
		task.Env = append(task.Env, "DUMMY_STDOUT=ready\n", "DUMMY_SLEEP=1h")
		id := b.start(t, task)
		b.await(t, id, "ready")
		dir := fmt.Sprintf("/proc/%d", b.inspect(t, string(id)).State.Pid)
		got := map[string]string{}
		status(t, dir, got)
		namespaces(t, dir, got)
		mounts(t, dir, got)
		groups(t, dir, string(id), got)
		for name, want := range golden(t, "posture", strict, got) {
			if got[name] != want {
				t.Errorf("%s is %q, want %q", name, got[name], want)
			}
		}
		// Control: this process, which nothing holds, stands otherwise.
		open := map[string]string{}
		status(t, "/proc/self", open)
		namespaces(t, "/proc/self", open)
		for _, name := range []string{"status CapBnd", "status NoNewPrivs", "ns net", "ns mnt"} {
			if open[name] == got[name] {
				t.Errorf("control: %s is %q of an open process, too", name, open[name])
			}
		}
	})
}

func text(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// status takes what decides over rights, and the limits that we set.
func status(t *testing.T, dir string, got map[string]string) {
	t.Helper()
	for line := range strings.Lines(text(t, dir+"/status")) {
		name, value, _ := strings.Cut(line, ":")
		switch name {
		case "Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp":
			got["status "+name] = strings.Join(strings.Fields(strings.ReplaceAll(value, fmt.Sprint(uid), "job")), " ")
		}
	}
	for line := range strings.Lines(text(t, dir+"/limits")) {
		if rest, ok := strings.CutPrefix(line, "Max core file size"); ok {
			got["limits core"] = strings.Join(strings.Fields(rest), " ")
		} else if rest, ok := strings.CutPrefix(line, "Max open files"); ok && strings.Contains(rest, "128") {
			got["limits nofile"] = strings.Join(strings.Fields(rest), " ")
		}
	}
	got["oom_score_adj"] = text(t, dir+"/oom_score_adj")
}

// namespaces says which are shared with this process, which is in the host's.
func namespaces(t *testing.T, dir string, got map[string]string) {
	t.Helper()
	for _, ns := range []string{"ipc", "mnt", "net", "pid", "user", "uts"} {
		theirs, err := os.Readlink(filepath.Join(dir, "ns", ns))
		if err != nil {
			t.Fatal(err)
		}
		ours, err := os.Readlink("/proc/self/ns/" + ns)
		if err != nil {
			t.Fatal(err)
		}
		if got["ns "+ns] = "its own"; theirs == ours {
			got["ns "+ns] = "the host's"
		}
	}
}

// mounts takes the flags of every mount; those within /proc and /sys hang on the
// kernel.
func mounts(t *testing.T, dir string, got map[string]string) {
	t.Helper()
	for line := range strings.Lines(text(t, dir+"/mountinfo")) {
		f := strings.Fields(line)
		if strings.HasPrefix(f[4], "/proc/") || strings.HasPrefix(f[4], "/sys/") {
			continue
		}
		var flags []string
		for o := range strings.SplitSeq(f[5], ",") {
			switch o {
			case "ro", "rw", "nosuid", "nodev", "noexec":
				flags = append(flags, o)
			}
		}
		got["mount "+f[4]] = strings.Join(flags, ",")
	}
}

// groups reads the bounds of the control groups that the process lies in.
func groups(t *testing.T, dir, id string, got map[string]string) {
	t.Helper()
	files := map[string][]string{ // by controller; version 1, then 2
		"memory": {"memory.limit_in_bytes", "memory.max"}, "pids": {"pids.max", "pids.max"}, "cpu": {"cpu.cfs_quota_us", "cpu.max"},
	}
	for line := range strings.Lines(text(t, dir+"/cgroup")) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		for name, of := range files {
			path := filepath.Join("/sys/fs/cgroup", name, f[2], of[0])
			if f[0] == "0" && f[1] == "" {
				path = filepath.Join("/sys/fs/cgroup", f[2], of[1])
			} else if f[1] != name && !strings.Contains(","+f[1]+",", ","+name+",") {
				continue
			}
			if _, err := os.Stat(path); err != nil || !strings.Contains(path, id) {
				continue // of the other version, which does not hold it
			}
			value, _, _ := strings.Cut(text(t, path), " ")
			got["cgroup "+name] = value
		}
	}
}
