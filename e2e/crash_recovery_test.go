package e2e

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// ticks writes a line again and again until it is let go, and then its last one,
// so that a second start or an early end shows.
const ticks = "i=0; until test -e /tmp/go; do echo $i; echo $i >> /outputs/ticks; i=$((i+1)); sleep 0.2; done; echo end >> /outputs/ticks"

func ticking(t testing.TB) jobspec.Spec { return noInput(t, ticks) }

// quick ends at once.
func quick(t testing.TB) jobspec.Spec { return noInput(t, "echo > /outputs/x") }

func noInput(t testing.TB, command string) jobspec.Spec {
	t.Helper()
	return crashYAML(t, fmt.Sprintf(`
run: {image: shell, command: [sh, -c, %q]}
resources: {cpu: 100m, memory: 64MiB, disk: 16MiB}
`, command))
}

// sameContainer is the container of a node's one job: called again it holds
// that this is the same one, started once.
func (n *crasher) sameContainer() (check func()) {
	n.t.Helper()
	first := n.running()
	return func() {
		n.t.Helper()
		if now := n.containers(); len(now) != 1 || now[0] != first {
			n.t.Errorf("containers = %q, want %q", now, first)
		}
	}
}

// ticked lets a job's program go, whose container is the only one, and holds that
// it ran once from its beginning to its end.
func (n *node) ticked(id string) wire.Job {
	n.t.Helper()
	n.release(n.running())
	return n.tickedOnce(id)
}

func (n *node) tickedOnce(id string) wire.Job {
	n.t.Helper()
	j, err := n.client().Wait(n.t.Context(), id)
	if err != nil || j.State != jobspec.JobSucceeded || len(j.Attempts) != 1 {
		n.t.Fatalf("the job is %s with %d attempts, %+v, %v", j.State, len(j.Attempts), j.Failure, err)
	}
	got := strings.Split(n.ok("get", j.Result.String()+"/ticks", "-"), "\n")
	for i, line := range got[:len(got)-1] {
		if line != fmt.Sprint(i) {
			n.t.Errorf("tick %d of the program is %q", i, line)
		}
	}
	if len(got) < 2 || got[len(got)-1] != "end" {
		n.t.Errorf("the program ticked %q, want an end behind at least one", got)
	}
	n.checkHistory(id, 1)
	return j
}

// F03: the node is killed while it recovers from having been killed, 20 times,
// at any moment of its first half second.
func TestF03KilledDuringRecovery(t *testing.T) {
	parallel(t)
	t.Logf("IPDC_SEED=%d", seed())
	n, rnd := newCrasher(t, nil), chance(t.Name())
	done := crashSpec(t, n.ok("add", "-q", logsDir(t)), "task", copying)
	n.wants(done)
	id := n.begun(n.client(), "ticks", ticking(t))
	same := n.sameContainer()
	other, err := n.client().Submit(t.Context(), done, "beside")
	if err != nil {
		t.Fatal(err)
	}
	n.kill()
	const rounds = 20
	early := 0
	for range rounds {
		unready := n.relaunch()
		pauseFor(rnd, 50, 500)
		n.kill()
		if unready() {
			early++
		}
	}
	if t.Logf("%d of %d kills fell before the node was ready", early, rounds); early == 0 {
		t.Error("control: no kill fell into a start")
	}
	n.start()
	if _, err := n.client().Wait(t.Context(), other.ID.String()); err != nil {
		t.Fatal(err)
	}
	n.checkHistory(other.ID.String(), 1)
	n.await("the other job's container to go", recoverFor, func() bool { return len(n.containers()) <= 1 })
	same()
	n.ticked(id)
	n.settles()
}

func pauseFor(rnd *rand.Rand, least, most int) {
	<-time.After(time.Duration(least+rnd.IntN(most-least)) * time.Millisecond)
}

// F04: who is asked to end, by SIGTERM or SIGINT, ends and leaves what runs; a
// second signal ends one that waits at its end; a node that drains takes nothing, and ends
// what it has.
func TestF04Signals(t *testing.T) {
	parallel(t)
	n := newCrasher(t, []string{"IPDC_API_GRACE=10m"}) // nothing but a signal cuts a request
	n.wants(quick(t))
	id := n.begun(n.client(), "ticks", ticking(t))
	same := n.sameContainer()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		if err := n.cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		if n.ended(endFor); !n.cmd.ProcessState.Success() {
			t.Errorf("after %s the node ends with %s, want in order", sig, n.cmd.ProcessState)
		}
		if _, err := n.client().Node(t.Context()); err == nil {
			t.Error("a node that ended answers")
		}
		same()
		n.start()
		same()
	}

	n.endsBySecondSignal()
	n.start()
	same()

	c := n.client()
	if _, err := c.Drain(t.Context(), wire.DrainWish{}); err != nil {
		t.Fatal(err)
	}
	if code, body := n.asked("/readyz", ""); code != http.StatusServiceUnavailable {
		t.Errorf("/readyz of a node that drains: %d %s", code, body)
	}
	if r := n.ipdc("job", "submit", "-d", "--once", "-e", "true"); r.code == 0 || !strings.Contains(r.stderr, "drain") {
		t.Errorf("a node that drains says to a submit: %+v", r)
	}
	same()
	n.ticked(id)
	n.await("the end of the drain", time.Minute, func() bool {
		d, err := c.Drained(t.Context())
		return err == nil && d.State == wire.Drained
	})
	if _, err := c.Drain(t.Context(), wire.DrainWish{Undo: true}); err != nil {
		t.Fatal(err)
	}
	n.ok("job", "submit", "--once", "-e", "true") // control
	if code, body := n.asked("/readyz", ""); code != http.StatusOK {
		t.Errorf("control: /readyz of a node that takes jobs: %d %s", code, body)
	}
	n.settles()
}

// endFor is how long a node may take to end.
const endFor = patience

// endsBySecondSignal lets the node wait at its end for a request that hangs, and
// helps it with a second signal.
func (n *crasher) endsBySecondSignal() {
	n.t.Helper()
	socket := filepath.Join(n.dir, "api.sock")
	hangs, err := net.Dial("unix", socket)
	if err != nil {
		n.t.Fatal(err)
	}
	defer hangs.Close()
	_, err = fmt.Fprintf(hangs, "POST /v1/dag/import HTTP/1.1\r\nHost: node\r\nContent-Type: %s\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n", wire.TypeCAR)
	if err != nil {
		n.t.Fatal(err)
	}
	if said, err := bufio.NewReader(hangs).ReadString('\n'); err != nil || !strings.Contains(said, "100 Continue") { // it is being read
		n.t.Fatalf("the request that is to hang: %q, %v", said, err)
	}
	if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		n.t.Fatal(err)
	}
	n.await("the node to take no more requests", endFor, func() bool {
		c, err := net.Dial("unix", socket)
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	if zombie(n.cmd.Process.Pid) {
		n.t.Fatal("one signal has ended a node with a request that hangs")
	}
	if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		n.t.Fatal(err)
	}
	if st := n.ended(endFor); st.Signal() != syscall.SIGTERM {
		n.t.Errorf("after a second signal the node ended with %s, want by the signal itself", n.cmd.ProcessState)
	}
}

// F05: a panic, and the kernel's killer when memory is short, are as SIGKILL is.
func TestF05PanicAndOutOfMemory(t *testing.T) {
	parallel(t)
	n := newCrasher(t, nil)
	spec := crashSpec(t, n.ok("add", "-q", logsDir(t)), "task", copying)
	want := n.wants(spec)

	t.Run("panic", func(t *testing.T) {
		n.ready(t)
		n.asks("exited.after-effect=panic")
		c := n.client()
		first, _ := c.Submit(t.Context(), spec, t.Name()) // its answer may be lost
		if n.ended(endFor); n.cmd.ProcessState.Success() || !strings.Contains(n.log.String(), "panic: failpoint exited.after-effect") {
			t.Fatalf("the node ended with %s, want a panic", n.cmd.ProcessState)
		}
		n.start()
		n.ends(c, n.again(c, t.Name(), spec, first), want)
	})
	t.Run("out of memory", func(t *testing.T) {
		n.ready(t)
		id := n.begun(n.client(), t.Name(), ticking(t))
		same := n.sameContainer()
		big := write(t, t.TempDir(), "big", strings.Repeat("0123456789abcdef", 4<<20))
		limitMemory(t, n.cmd)
		n.await("the kernel to end the node", time.Minute, func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			add := exec.CommandContext(ctx, filepath.Join(n.bin, "ipdc"), "add", "-q", big) // so that the node needs memory
			add.Env = n.env
			_ = add.Run() // it is cut off
			return zombie(n.cmd.Process.Pid)
		})
		if st := n.ended(endFor); st.Signal() != syscall.SIGKILL {
			t.Fatalf("the node ended with %s, want SIGKILL by the kernel", n.cmd.ProcessState)
		}
		n.start()
		same()
		n.ticked(id)
		n.settles()
	})
	n.t = t
}

// limitMemory puts a process into a control group of its own with next to no
// memory, and ends it with the test.
func limitMemory(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	pid := cmd.Process.Pid
	top, limit := "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
	if _, err := os.Stat(top); err != nil {
		top, limit = "/sys/fs/cgroup", "memory.max"
	}
	group := filepath.Join(top, fmt.Sprintf("oom-of-%d", pid))
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
		if err := os.Remove(group); err != nil {
			t.Error(err)
		}
	})
	write := func(file, value string) {
		if err := os.WriteFile(filepath.Join(group, file), []byte(value), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(limit, "4M")
	if swap := "memory.memsw.limit_in_bytes"; top != "/sys/fs/cgroup/memory" {
		write("memory.swap.max", "0")
	} else if _, err := os.Stat(filepath.Join(group, swap)); err == nil { // else the kernel does not count it
		write(swap, "4M")
	}
	write("cgroup.procs", fmt.Sprint(pid))
}

// F40: between the blocks and their pin the node is killed, and garbage is
// collected then: nothing is said to be there that is not, and what is done
// again is whole.
func TestF40KilledBetweenAddAndPin(t *testing.T) {
	parallel(t)
	n := newCrasher(t, nil)
	n.wants(crashSpec(t, n.ok("add", "-q", logsDir(t)), "task", copying))
	for _, place := range []string{"pin.before-effect", "pin.after-effect"} {
		t.Run(place, func(t *testing.T) {
			n.ready(t)
			before := n.ok("pin", "ls", "-q")
			file := write(t, t.TempDir(), "data", strings.Repeat(place, 100_000))
			n.crash(place, func() {
				if r := n.ipdc("add", "-q", file); r.code == 0 || r.stdout != "" {
					t.Errorf("add to a node that was killed: %+v", r)
				}
			})
			if pins := n.ok("pin", "ls", "-q"); pins != before {
				t.Errorf("after the crash there are pins of %q, before of %q", pins, before)
			}
			n.ok("node", "gc")
			cid := n.ok("add", "-q", file)
			n.ok("node", "gc")
			if got := n.ok("get", cid, "-"); got != strings.Repeat(place, 100_000) {
				t.Errorf("%d bytes came back", len(got))
			}
			n.ok("pin", "rm", cid)
			n.ok("node", "gc")
			n.fails(1, "get", cid, filepath.Join(t.TempDir(), "gone")) // control: what has no pin is collected

			input := n.ok("add", "-q", logsDir(t))
			spec := crashSpec(t, input, "task", "echo "+place+" > /outputs/only-here")
			c := n.client()
			var first wire.Job
			n.crash(place, func() { first, _ = c.Submit(t.Context(), spec, place) })
			n.ok("node", "gc")
			j, err := c.Wait(t.Context(), n.again(c, place, spec, first))
			if err != nil || j.State != jobspec.JobSucceeded {
				t.Fatalf("the job is %s, %+v, %v", j.State, j.Failure, err)
			}
			n.ok("node", "gc")
			n.whole(c, j.Result)
			n.settles()
			n.ok("pin", "rm", input)
		})
	}
	n.t = t
}
