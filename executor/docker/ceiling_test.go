package docker_test

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/executor/docker"
	"github.com/ipdc/ipdc/jobspec"
)

func readTree(t *testing.T, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		rel, _ := filepath.Rel(root, p)
		out[rel] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestCeilingSettings(t *testing.T) {
	for name, c := range map[string]struct {
		v2   bool
		want map[string]string
	}{
		"v1": {false, map[string]string{
			"memory/ipdc-a/memory.limit_in_bytes":       "1073741824",
			"memory/ipdc-a/memory.memsw.limit_in_bytes": "1073741824",
			"cpu/ipdc-a/cpu.cfs_period_us":              "100000",
			"cpu/ipdc-a/cpu.cfs_quota_us":               "150000",
			"cpu/ipdc-a/cpu.shares":                     "102",
			"pids/ipdc-a/pids.max":                      "16384",
		}},
		"v2": {true, map[string]string{
			"cgroup.subtree_control": "+io", // a file of the kernel adds them up
			"ipdc-a/memory.max":      "1073741824",
			"ipdc-a/memory.swap.max": "0",
			"ipdc-a/cpu.max":         "150000 100000",
			"ipdc-a/cpu.weight":      "10",
			"ipdc-a/pids.max":        "16384",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for _, dir := range []string{"memory", "cpu", "pids"} {
				if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			ceiling := docker.Ceiling{Root: root, V2: c.v2}
			for range 2 { // a node that starts again finds what it made
				parent, err := ceiling.Ensure(t.Context(), "ipdc-a", 1500, jobspec.GiB)
				if err != nil || parent != "/ipdc-a" {
					t.Fatalf("Ensure = %q, %v, want /ipdc-a", parent, err)
				}
			}
			if diff := cmp.Diff(c.want, readTree(t, root)); diff != "" {
				t.Errorf("settings differ (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCeilingSystemd(t *testing.T) {
	var calls []string
	ceiling := docker.Ceiling{Systemd: true, Run: func(_ context.Context, args ...string) error {
		calls = append(calls, strings.Join(args, " "))
		return nil
	}}
	parent, err := ceiling.Ensure(t.Context(), "ipdc-a", 1505, jobspec.GiB)
	if err != nil || parent != "ipdc-a.slice" {
		t.Fatalf("Ensure = %q, %v, want ipdc-a.slice", parent, err)
	}
	if err := ceiling.Remove(t.Context(), "ipdc-a"); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"start ipdc-a.slice",
		"set-property --runtime ipdc-a.slice CPUQuota=150.5% MemoryMax=1073741824 MemorySwapMax=0 TasksMax=16384 CPUWeight=10 IOWeight=10",
		"stop ipdc-a.slice",
	}
	if diff := cmp.Diff(want, calls); diff != "" {
		t.Errorf("systemctl calls differ (-want +got):\n%s", diff)
	}
}

func TestCeilingExplains(t *testing.T) {
	denied := func(context.Context, ...string) error { return fs.ErrPermission }
	absent := func(context.Context, ...string) error { return exec.ErrNotFound }
	for name, c := range map[string]docker.Ceiling{
		"no cgroup file system": {Root: filepath.Join(t.TempDir(), "missing")},
		"not allowed":           {Systemd: true, Run: denied},
		"no systemctl":          {Systemd: true, Run: absent},
	} {
		parent, err := c.Ensure(t.Context(), "ipdc-a", 1000, jobspec.GiB)
		if parent != "" || err == nil || !strings.Contains(err.Error(), "run the node as root") {
			t.Errorf("Ensure with %s = %q, %v, want no parent and advice", name, parent, err)
		}
	}
	for _, name := range []string{"", "../x", "a/b", "A", "-x"} {
		if _, err := (docker.Ceiling{Root: t.TempDir(), V2: true}).Ensure(t.Context(), name, 1000, jobspec.GiB); err == nil {
			t.Errorf("Ensure(%q) = nil, want an error", name)
		}
	}
}

// TestCeilingHolds lets a job with a limit of 128 MiB take memory below a
// ceiling of 32 MiB. Without the ceiling it may have it.
func TestCeilingHolds(t *testing.T) {
	b := newBench(t)
	info, err := b.ex.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.CgroupDriver != "cgroupfs" || os.Geteuid() != 0 {
		t.Skipf("needs root and the cgroupfs driver; user is %d, driver is %s", os.Geteuid(), info.CgroupDriver)
	}
	name := randomName()
	if _, err := b.ex.EnsureCeiling(t.Context(), name, 1000, 16*jobspec.MiB); err != nil {
		t.Fatalf("EnsureCeiling: %v", err)
	}
	t.Cleanup(func() {
		for range 2 {
			if err := b.ex.RemoveCeiling(bounded(t), name); err != nil {
				t.Error(err)
			}
		}
	})
	parent, err := b.ex.EnsureCeiling(t.Context(), name, 1000, 32*jobspec.MiB)
	if err != nil {
		t.Fatalf("EnsureCeiling, raised: %v", err)
	}
	const want = 64 << 20
	for _, below := range []bool{false, true} {
		task := b.task("try", "fill:/tmp/x,"+strconv.Itoa(want))
		task.Tmp = 2 * want
		if below {
			task.CgroupParent = parent
		}
		id := b.start(t, task)
		exit, err := b.ex.Wait(bounded(t), id)
		if err != nil || (exit.Code != 0) != below {
			t.Errorf("job that takes 64 MiB below a ceiling (%v) = %+v, %v", below, exit, err)
		}
		// The ceiling can only go once its last container is gone.
		if err := b.ex.Remove(bounded(t), id); err != nil {
			t.Error(err)
		}
	}
}
