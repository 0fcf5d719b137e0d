package hostload_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/ipdc/ipdc/internal/hostload"
	"github.com/ipdc/ipdc/jobspec"
)

// machine is a /proc of a test's own.
type machine struct {
	t   *testing.T
	dir string
}

// process writes what process pid has used, in hundredths of a second. Its
// children that have ended used ten times as much.
func (m machine) process(pid, parent int, comm, group string, used int) {
	m.t.Helper()
	dir := filepath.Join(m.dir, fmt.Sprint(pid))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		m.t.Fatal(err)
	}
	stat := fmt.Sprintf("%d (%s) S %d 1 1 0 -1 0 0 0 0 0 %d 0 %d 0 20 0 1 0 77 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n", pid, comm, parent, used, 10*used)
	for name, text := range map[string]string{"stat": stat, "cgroup": "4:cpu,cpuacct:" + group + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			m.t.Fatal(err)
		}
	}
}

// Looks a second apart, of a machine with two processors, where busy is 80 %.
func TestBusy(t *testing.T) {
	for _, tt := range []struct {
		name        string
		parent      int
		comm, group string
		use         []int // in each second, in percent of a processor
		want        string
	}{
		{"a database", 1, "postgres", "/system.slice", []int{190, 190, 190, 190}, "other programs use 1.9 of 2 processors (host-busy is 80 %)"},
		{"not for long", 1, "postgres", "/", []int{190, 190, 190}, ""},
		{"with a pause", 1, "postgres", "/", []int{190, 190, 190, 100, 190, 190, 190}, ""},
		{"half", 1, "postgres", "/", []int{100, 100, 100, 100, 100}, ""},
		{"a job", 1, "python3", "/ipdc-3kqz/4711", []int{200, 200, 200, 200, 200}, ""},
		{"a job by systemd", 1, "python3", "/mine.slice/docker-4711.scope", []int{200, 200, 200, 200, 200}, ""},
		{"a node", 1, "ipdc", "/", []int{200, 200, 200, 200, 200}, ""},
		{"the engine", 1, "containerd-shim", "/", []int{200, 200, 200, 200, 200}, ""},
		{"the kernel", 2, "kworker/0:1", "/", []int{200, 200, 200, 200, 200}, ""},
		{"less again", 1, "postgres", "/", []int{190, 190, 190, 190, 150, 100, 100, 100}, "other programs use 1.0 of 2 processors (host-busy is 80 %)"},
		{"less for long", 1, "postgres", "/", []int{190, 190, 190, 190, 100, 100, 100, 100}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := machine{t, t.TempDir()}
			w := hostload.New(hostload.Config{Proc: m.dir, Jobs: []string{"ipdc-", "mine.slice"}, Limit: 80, Processors: 2})
			now, used := time.Now(), 5000
			m.process(100, tt.parent, tt.comm, tt.group, used)
			w.Look(now)
			for _, percent := range tt.use {
				now, used = now.Add(time.Second), used+percent
				m.process(100, tt.parent, tt.comm, tt.group, used)
				w.Look(now)
			}
			if got := w.Busy(0); got != tt.want || w.Used() != tt.want {
				t.Errorf("Busy = %q, Used = %q, want %q", got, w.Used(), tt.want)
			}
		})
	}
}

// A real program that does nothing but use a processor is seen on this machine,
// and is not where it counts as a job.
func TestRealProgram(t *testing.T) {
	cmd := exec.Command("sh", "-c", "while :; do :; done")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for _, tt := range []struct {
		jobs []string
		want bool
	}{{nil, true}, {[]string{""}, false}} { // each name begins with that
		w := hostload.New(hostload.Config{Jobs: tt.jobs, Limit: 1, Processors: 1})
		busy := false
		for range 20 {
			w.Look(time.Now())
			<-time.After(50 * time.Millisecond)
			if busy = w.Busy(0) != ""; busy {
				break
			}
		}
		if busy != tt.want {
			t.Errorf("with jobs in %q, Busy beside a program that uses a whole processor = %q", tt.jobs, w.Busy(0))
		}
	}
}

// A machine that cannot be read any more is not busy.
func TestUnreadable(t *testing.T) {
	m := machine{t, t.TempDir()}
	w := hostload.New(hostload.Config{Proc: m.dir, Limit: 80, Processors: 2})
	now := time.Now()
	for i := range 5 {
		m.process(100, 1, "postgres", "/", 200*i)
		w.Look(now.Add(time.Duration(i) * time.Second))
	}
	if w.Busy(0) == "" {
		t.Fatal("control: a machine that can be read is not busy")
	}
	if err := os.RemoveAll(m.dir); err != nil {
		t.Fatal(err)
	}
	w.Look(now.Add(time.Minute))
	if got := w.Busy(0); got != "" {
		t.Errorf("Busy = %q of a machine that cannot be read", got)
	}
}

// A task does not start into the last twentieth of the memory, which makes no
// machine one that others use.
func TestShortOfMemory(t *testing.T) {
	for _, tt := range []struct {
		meminfo string
		asks    jobspec.Bytes
		limit   int
		want    string
	}{
		{"MemTotal: 1024000 kB\nMemAvailable: 200000 kB\n", 100 << 20, 80, ""},
		{"MemTotal: 1024000 kB\nMemAvailable: 200000 kB\n", 150 << 20, 80, "a task asks for 150MiB of memory, and the machine has 195MiB available, of which it keeps 50MiB"},
		{"MemTotal: 1024000 kB\nMemAvailable: 200000 kB\n", 150 << 20, 101, ""},
		{"MemTotal: 1024000 kB\n", 150 << 20, 80, ""}, // an old kernel
		{"", 150 << 20, 80, ""},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "meminfo"), []byte(tt.meminfo), 0o644); err != nil {
			t.Fatal(err)
		}
		w := hostload.New(hostload.Config{Proc: dir, Limit: tt.limit})
		if got := w.Busy(tt.asks); got != tt.want || w.Used() != "" {
			t.Errorf("with %q and %d %%, Busy(%s) = %q, want %q, and Used = %q", tt.meminfo, tt.limit, tt.asks, got, tt.want, w.Used())
		}
	}
}
