package docker_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"

	"github.com/ipdc/ipdc/executor"
)

// TestSandboxStatus compares what a job sees of itself with what the same
// program sees in a container of the engine's defaults.
func TestSandboxStatus(t *testing.T) {
	b := newBench(t)
	t.Setenv("IPDC_TEST_SECRET", "canary") // R26: an environment to look for
	job := parse[seen](t, b.job(t, b.task("status")))
	open := parse[seen](t, b.control(t, func(c *container.Config, h *container.HostConfig) {
		c.User, h.SecurityOpt = "0:0", []string{"seccomp=unconfined"}
		h.Mounts = []mount.Mount{{Type: mount.TypeBind, Source: "/var/run/docker.sock", Target: "/docker.sock"}}
	}, "status"))
	for _, c := range []struct {
		name      string
		job, open any // what each sees
		want      any // in the job; the control must see something else
	}{
		{"M09 user", []int{job.UID, job.GID}, []int{open.UID, open.GID}, []int{uid, uid}},
		{"capabilities", job.Proc["CapEff"], open.Proc["CapEff"], "0000000000000000"},
		{"capability bounding set", job.Proc["CapBnd"], open.Proc["CapBnd"], "0000000000000000"},
		{"R18 no new privileges", job.Proc["NoNewPrivs"], open.Proc["NoNewPrivs"], "1"},
		{"seccomp filter", job.Proc["Seccomp"], open.Proc["Seccomp"], "2"},
		{"network interfaces", fmt.Sprint(job.Interfaces), fmt.Sprint(open.Interfaces), "[lo]"},
		{"routes", len(job.Routes) == 0, len(open.Routes) == 0, true},
		{"N07 resolver", job.Resolver, open.Resolver, ""},
		{"R15 core limit", job.Core, open.Core, uint64(0)},
		{"open files", job.NoFile, open.NoFile, uint64(128)},
		{"R26 N03 sockets", fmt.Sprint(job.Sockets), fmt.Sprint(open.Sockets), "[]"},
		{"environment", fmt.Sprint(sorted(job.Env)), fmt.Sprint(sorted(open.Env)), "[GOMAXPROCS=1 HOME=/tmp PATH=/bin]"},
		{"host name", job.Hostname, open.Hostname, "job"},
		{"R13 init", job.Init, open.Init, "docker-init"},
		{"kernel kills it first", job.OOMScore, open.OOMScore, "500"},
		{"root is read-only", option(job.Mounts["/"]), option(open.Mounts["/"]), "ro"},
		{"own memory file systems", job.Mounts["/tmp"] != "" && job.Mounts["/dev/shm"] != "", open.Mounts["/tmp"] != "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, c.job); diff != "" {
				t.Errorf("a job sees (-want +got):\n%s", diff)
			}
			if cmp.Equal(c.want, c.open) {
				t.Errorf("control sees %v too, so the test shows nothing", c.open)
			}
		})
	}
	// R31 has a control of its own: there, stdin stays open.
	if job.Stdin != "EOF" {
		t.Errorf("R31: reading stdin gave %q, want EOF", job.Stdin)
	}
	checkVisible(t, job)
}

// checkVisible holds the whole of what is mounted and lies in the root of a
// container to a list, so that a new entry is noticed: R26.
func checkVisible(t *testing.T, job seen) {
	if want := []string{".dockerenv", "dev", "etc", "probe", "proc", "sbin", "suid", "sys", "tmp"}; !slices.Equal(job.Root, want) {
		t.Errorf("R26: / holds %v, want %v", job.Root, want)
	}
	known := []string{"/", "/dev", "/dev/mqueue", "/dev/pts", "/dev/shm", "/etc/hostname", "/etc/hosts",
		"/etc/resolv.conf", "/proc", "/sbin/docker-init", "/sys", "/tmp"}
	for dir := range job.Mounts {
		kernel := strings.HasPrefix(dir, "/proc/") || strings.HasPrefix(dir, "/sys/")
		if !kernel && !slices.Contains(known, dir) {
			t.Errorf("R26: %s is mounted", dir)
		}
	}
	for _, cg := range job.Cgroups {
		if cg != "/" {
			t.Errorf("R26: the job sees its control group %s", cg)
		}
	}
}

func sorted(s []string) []string { return slices.Sorted(slices.Values(s)) }

func option(options string) string {
	first, _, _ := strings.Cut(options, ",")
	return first
}

// mounted returns a task with one read-only and one writable directory of the
// host; both hold a file and a setuid program.
func (b *bench) mounted(t *testing.T, args ...string) (task executor.Task, in, out string) {
	t.Helper()
	program, err := probe()
	if err != nil {
		t.Fatal(err)
	}
	dirs := [2]string{filepath.Join(t.TempDir(), "in"), filepath.Join(t.TempDir(), "out")}
	for _, dir := range dirs {
		for _, err := range []error{
			os.Mkdir(dir, 0o777), os.Chmod(dir, 0o777),
			os.WriteFile(filepath.Join(dir, "a"), []byte("a"), 0o666), os.Chmod(filepath.Join(dir, "a"), 0o666),
			os.WriteFile(filepath.Join(dir, "suid"), program, 0o755),
			os.Chmod(filepath.Join(dir, "suid"), 0o755|os.ModeSetuid),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	task = b.task(args...)
	task.Mounts = []executor.Mount{{Source: dirs[0], Target: "/inputs", ReadOnly: true}, {Source: dirs[1], Target: "/outputs"}}
	return task, dirs[0], dirs[1]
}

// opened mounts the same directories in a control, both writable.
func opened(in, out string, more opening) opening {
	return func(c *container.Config, h *container.HostConfig) {
		h.Binds = []string{in + ":/inputs", out + ":/outputs"}
		if more != nil {
			more(c, h)
		}
	}
}

func TestSandboxFiles(t *testing.T) {
	b := newBench(t)
	attacks := []string{
		"write:/x", "write:/etc/x", "write:/suid", "write:/dev/x", "write:/inputs/a", "write:/inputs/new",
		"remount:/inputs", "remount:/", "bind:/inputs", "bind:/etc", "mknod:/outputs/disk", "mknod:/tmp/disk",
		"setuid:", "clock:", "userns:",
	}
	task, in, out := b.mounted(t, append([]string{"try"}, attacks...)...)
	job := parse[map[string]outcome](t, b.job(t, task))
	open := b.tryOpen(t, opened(in, out, privileged), attacks...)
	ids := map[string]string{
		"remount": "R25 ", "bind": "R25 ", "mknod": "R19 ", "clock": "R27 ", "write": "read-only root and inputs ",
	}
	for _, a := range attacks {
		kind, _, _ := strings.Cut(a, ":")
		t.Run(ids[kind]+a, func(t *testing.T) {
			failed(t, a, job[a], "read-only file system", "operation not permitted", "permission denied")
			worked(t, a, open[a])
		})
	}
	t.Run("outputs are writable", func(t *testing.T) {
		task, _, out := b.mounted(t, "try", "write:/outputs/new", "write:/tmp/new")
		for a, o := range parse[map[string]outcome](t, b.job(t, task)) {
			worked(t, a, o)
		}
		if _, err := os.Stat(filepath.Join(out, "new")); err != nil {
			t.Error(err)
		}
	})
}

func TestSandboxSetuid(t *testing.T) {
	b := newBench(t)
	attacks := []string{"suid:/suid", "suid:/inputs/suid", "suid:/outputs/suid"}
	task, in, out := b.mounted(t, append([]string{"try"}, attacks...)...)
	job := parse[map[string]outcome](t, b.job(t, task))
	open := b.tryOpen(t, opened(in, out, asUser), attacks...)
	for _, a := range attacks {
		t.Run("R18 "+a, func(t *testing.T) {
			if job[a].Text != fmt.Sprint(uid) {
				t.Errorf("effective user = %+v, want %d", job[a], uid)
			}
			if a == "suid:/suid" && open[a].Text != "0" {
				t.Errorf("control: effective user = %+v, want 0", open[a])
			}
		})
	}
}

// TestSandboxDevices opens devices, also the host's disk by a node that
// someone left in an input.
func TestSandboxDevices(t *testing.T) {
	b := newBench(t)
	attacks := []string{"open:/dev/mem", "open:/dev/kmsg", "open:/inputs/disk", "open:/outputs/disk"}
	task, in, out := b.mounted(t, append([]string{"try"}, attacks...)...)
	for _, dir := range []string{in, out} {
		makeDisk(t, filepath.Join(dir, "disk"))
	}
	job := parse[map[string]outcome](t, b.job(t, task))
	open := b.tryOpen(t, opened(in, out, privileged), attacks...)
	for _, a := range attacks {
		t.Run("R19 "+a, func(t *testing.T) {
			failed(t, a, job[a], "no such file", "operation not permitted", "permission denied")
			if a != "open:/dev/mem" { // not every kernel has it
				worked(t, a, open[a])
			}
		})
	}
}

// makeDisk makes a node of some disk that this machine lets its root open.
func makeDisk(t *testing.T, node string) {
	t.Helper()
	entries, _ := filepath.Glob("/sys/block/*/dev")
	for _, e := range entries {
		var major, minor int
		b, _ := os.ReadFile(e)
		if n, _ := fmt.Sscanf(string(b), "%d:%d", &major, &minor); n != 2 {
			continue
		}
		if err := syscall.Mknod(node, syscall.S_IFBLK|0o666, major<<8|minor); err != nil {
			t.Skipf("needs a privilege to make a device: %v", err)
		}
		if f, err := os.Open(node); err == nil {
			f.Close()
			if err := os.Chmod(node, 0o666); err != nil {
				t.Fatal(err)
			}
			return
		}
		if err := os.Remove(node); err != nil {
			t.Fatal(err)
		}
	}
	t.Skip("needs a disk that root may open")
}

// TestStdin is the control of R31: with stdin open a read would block.
func TestStdin(t *testing.T) {
	b := newBench(t)
	id := b.unguarded(t, func(c *container.Config) { c.OpenStdin = true }, "status")
	begin := b.job(t, b.task("status")) // the whole life of a job, as a measure of time
	if parse[seen](t, begin).Stdin != "EOF" {
		t.Error("R31: stdin of a job is not at its end")
	}
	list, err := b.ex.List(bounded(t), prefix)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range list {
		if c.ID == id && !c.Running {
			t.Error("control: the program with stdin open has ended, want it to block")
		}
	}
}
