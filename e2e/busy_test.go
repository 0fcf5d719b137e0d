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
		return strings.Contains(n.ok("job", "describe", id), "one task at a time starts meanwhile")
	}
	running := func(id string) bool {
		a := n.job(id).Attempts
		return len(a) > 0 && a[0].State == jobspec.AttemptRunning
	}
	sleeper := func() string {
		id := n.ok("job", "submit", "-d", "--once", "--cpu", "0.1", "--cache", "off", "-e", "sleep 600")
		t.Cleanup(func() { n.ipdc("job", "stop", id) })
		return id
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
	for until := time.Now().Add(12 * time.Second); time.Now().Before(until); <-time.After(time.Second) { // two looks of the line
		if running(second) {
			t.Fatal("the second job runs beside the first on a busy host")
		}
	}
	stop()
	n.await("the second job to run", 2*time.Minute, func() bool { return running(second) })
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

// A job beside one that forks, fills its disk, takes all processors or floods its log keeps at
// least 80 % of its share: what it was given of half a processor when it was
// alone. The API answers meanwhile. What counts is the processor time that the kernel gave
// its loop, not how fast it was.
func TestNeighbourKeepsItsShare(t *testing.T) {
	n := newNode(t)
	const seconds = 10
	victim := func() float64 {
		t.Helper()
		id := n.ok("job", "submit", "-d", "--once", "--cpu", "0.5", "--cache", "off", "-e", fmt.Sprintf(
			`(while :; do :; done) & sleep %d; cut -d' ' -f14,15 /proc/$!/stat; kill $!`, seconds))
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
	if alone < seconds/5 {
		t.Fatalf("alone the job was given a processor for %.1f s of %d: this machine is too busy to tell", alone, seconds)
	}
	for _, neighbour := range []struct{ name, program string }{
		{"forks", `for i in $(seq 200); do sleep 1000 & done; while :; do (true) & wait $!; done`}, // a shell ends where it may not fork
		{"fills its disk", `while :; do dd if=/dev/zero of=/outputs/x bs=1M count=4096 2>/dev/null; done`},
		{"floods its log", `yes`},
		{"takes all processors", `for i in $(seq 64); do (while :; do :; done) & done; wait`},
	} {
		t.Run(neighbour.name, func(t *testing.T) {
			n.t = t
			bad := n.ok("job", "submit", "-d", "--once", "--cpu", "0.5", "--cache", "off", "-e", neighbour.program)
			defer n.ipdc("job", "stop", bad)
			running := func() bool {
				a := n.job(bad).Attempts
				return len(a) > 0 && a[0].State == jobspec.AttemptRunning
			}
			n.await("the neighbour to run", time.Minute, running)
			before := n.processor()
			beside := victim()
			own := n.processor() - before
			n.ok("node", "status")
			if !running() {
				t.Errorf("the neighbour did not last: %s", n.job(bad).State)
			}
			t.Logf("%.1f s of a processor alone, %.1f s beside; the node itself used %v", alone, beside, own)
			if beside < 0.8*alone {
				t.Errorf("the job was given a processor for %.1f s beside one that %s, and for %.1f s alone: less than 80 %%", beside, neighbour.name, alone)
			}
		})
	}
	n.t = t
}
