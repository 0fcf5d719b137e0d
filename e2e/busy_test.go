package e2e

import (
	"fmt"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/jobspec"
)

// While other programs use the machine one task at a time runs, and the job that
// waits says so; when they end, it goes on.
func TestJobsStepBackOnABusyHost(t *testing.T) {
	n := newNode(t, "--host-busy", "60")
	stop := burn(t, runtime.NumCPU())
	defer stop()
	busy := func(id string) bool {
		return strings.Contains(n.ok("job", "describe", id), "one task at a time runs meanwhile")
	}
	running := func(id string) bool {
		a := n.job(id).Attempts
		return len(a) > 0 && a[0].State == jobspec.AttemptRunning
	}
	sleeper := func() string {
		return n.ok("job", "submit", "-d", "--once", "--cpu", "0.1", "--cache", "off", "-e", "sleep 600")
	}
	first := sleeper()
	n.await("the first job to run", time.Minute, func() bool { return running(first) })
	// The node looks every 5 s, and believes the fourth look.
	var second string
	n.await("a job that waits for the host", 2*time.Minute, func() bool {
		if second = sleeper(); busy(second) {
			return true
		}
		n.ok("job", "stop", second)
		return false
	})
	if running(second) {
		t.Error("the second job runs beside the first on a busy host")
	}
	stop()
	n.await("the second job to run", 2*time.Minute, func() bool { return running(second) })
	for _, id := range []string{first, second} {
		n.ok("job", "stop", id)
	}
}

// burn keeps so many processors busy until stop is called.
func burn(t *testing.T, processors int) (stop func()) {
	t.Helper()
	var all []*exec.Cmd
	stop = func() {
		for _, cmd := range all {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
		all = nil
	}
	t.Cleanup(stop)
	for range processors {
		cmd := exec.Command("sh", "-c", "while :; do :; done")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		all = append(all, cmd)
	}
	return stop
}

// A job beside one that forks, fills its disk or floods its log keeps at least
// 80 % of what its neighbour may not have: half of the processors, here. The
// API answers meanwhile. What counts is the processor time that the kernel gave
// it, not how fast it was.
func TestNeighbourKeepsItsShare(t *testing.T) {
	n := newNode(t)
	cpus := strconv.FormatFloat(float64(runtime.NumCPU())/2, 'f', -1, 64)
	const seconds = 10
	victim := func() float64 {
		t.Helper()
		// As many loops as the job may use processors, for some seconds; then what
		// they used, from the job's own control group.
		id := n.ok("job", "submit", "-d", "--once", "--cpu", cpus, "--cache", "off", "-e", fmt.Sprintf(
			`for i in $(seq %d); do (while :; do :; done) & done; sleep %d; kill $(jobs -p); wait; cat /proc/$$/stat /dev/null | cut -d' ' -f16,17`, max(runtime.NumCPU()/2, 1), seconds))
		n.ok("job", "wait", id)
		var used float64
		for _, f := range strings.Fields(n.ok("job", "logs", id)) {
			ticks, err := strconv.ParseFloat(f, 64)
			if err != nil {
				t.Fatal(err)
			}
			used += ticks / 100
		}
		return used
	}
	alone := victim()
	if least := 0.8 * seconds * float64(runtime.NumCPU()) / 2; alone < least {
		t.Fatalf("alone the job used %.1f s of processors in %d s, want %.1f at least: the machine is busy with something else", alone, seconds, least)
	}
	for _, neighbour := range []struct{ name, program string }{
		{"forks", `f() { f | f & }; while :; do f; sleep 0.1; done`},
		{"fills its disk", `while :; do dd if=/dev/zero of=/outputs/x bs=1M count=4096; done`},
		{"floods its log", `yes flood`},
		{"takes all processors", `for i in $(seq 64); do (while :; do :; done) & done; wait`},
	} {
		t.Run(neighbour.name, func(t *testing.T) {
			n.t = t
			bad := n.ok("job", "submit", "-d", "--once", "--cpu", cpus, "--cache", "off", "-e", neighbour.program)
			n.await("the neighbour to run", time.Minute, func() bool {
				a := n.job(bad).Attempts
				return len(a) > 0 && (a[0].State == jobspec.AttemptRunning || n.job(bad).State.Final())
			})
			beside := victim()
			n.ok("node", "status")
			if j := n.job(bad); !j.State.Final() {
				n.ok("job", "stop", bad)
			}
			t.Logf("%.1f s of processors alone, %.1f s beside", alone, beside)
			if beside < 0.8*alone {
				t.Errorf("the job used %.1f s of processors beside one that %s, and %.1f s alone: less than 80 %%", beside, neighbour.name, alone)
			}
		})
	}
	n.t = t
}
