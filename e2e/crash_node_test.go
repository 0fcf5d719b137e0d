package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/ipdc/ipdc/internal/failpoint"
)

// crasher is a node that can be crashed at a place while it runs.
type crasher struct {
	*node
	calm []string // what it has when it has nothing to do
}

// newCrasher starts a node that looks for leftovers each second. It counts only
// what is its own, so that several of them run beside each other.
func newCrasher(t testing.TB, settings []string, args ...string) *crasher {
	t.Helper()
	n := makeCrasher(t, settings, args...)
	n.begin()
	t.Cleanup(func() { // before its end: what a dead node left goes with its next start
		if !t.Failed() {
			return
		}
		n.t = t
		n.disarm()
		n.kill()
		n.start()
	})
	return n
}

// makeCrasher is one that has not been started.
func makeCrasher(t testing.TB, settings []string, args ...string) *crasher {
	t.Helper()
	if len(args) == 0 {
		args = []string{"--p2p-listen", "off", "--door-listen", loopback}
	}
	n := &crasher{node: makeNode(t, nil, args...)}
	tmp := filepath.Join(n.dir, "tmp") // nothing of another process is in it
	if err := os.Mkdir(tmp, 0o700); err != nil {
		t.Fatal(err)
	}
	n.own = append([]string{failpoint.Env + "=@" + n.wish(), "IPDC_SWEEP_EVERY=1s", "TMPDIR=" + tmp}, settings...)
	t.Cleanup(func() { // after its end
		sameInventory(t, nil, func() []string { return slices.Concat(n.mounts(), n.groups(), n.containers()) })
		if err := os.RemoveAll(n.dir); err != nil {
			t.Errorf("remove state: %v", err)
		}
		n.disarm()
	})
	return n
}

// wish is the file that says what is to happen at a place.
func (n *crasher) wish() string { return n.dir + ".failpoint" }

// arm lets the node, running or not, kill itself when it comes to a place.
func (n *crasher) arm(place string) {
	n.t.Helper()
	n.asks(place + "=kill")
}

// asks lets the node do something else there.
func (n *crasher) asks(what string) {
	n.t.Helper()
	err := os.WriteFile(n.wish()+".new", []byte(what), 0o600)
	if err == nil {
		err = os.Rename(n.wish()+".new", n.wish())
	}
	if err != nil {
		n.t.Fatal(err)
	}
}

// disarm reports whether a place was armed still: else the node was there.
func (n *crasher) disarm() bool {
	err := os.Remove(n.wish())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		n.t.Error(err)
	}
	return err == nil
}

// crash arms a place and does what leads there, and starts the node again when
// it has died.
func (n *crasher) crash(place string, do func()) {
	n.t.Helper()
	n.arm(place)
	do()
	if !n.dies(patience) {
		n.disarm()
		n.t.Fatalf("the node did not come to %s within %s", place, patience)
	}
	n.recovers(place)
}

// ready lets the node speak to a test, and starts it should an earlier one have
// left it dead.
func (n *crasher) ready(t *testing.T) {
	t.Helper()
	n.t = t
	n.disarm()
	if n.cmd.ProcessState != nil || zombie(n.cmd.Process.Pid) {
		n.ended(endFor)
		n.start()
	}
}

// ended waits for the end of the node's process, and fails when it takes too
// long.
func (n *crasher) ended(within time.Duration) syscall.WaitStatus {
	n.t.Helper()
	late := time.AfterFunc(within, func() { _ = n.cmd.Process.Kill() })
	_ = n.cmd.Wait() // its error says what the status does
	if !late.Stop() {
		n.t.Fatalf("the node did not end within %s", within)
	}
	return n.cmd.ProcessState.Sys().(syscall.WaitStatus)
}

// zombie says whether a process has ended and was not waited for.
func zombie(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(b), ") Z ")
}

// dies waits until the node was killed at a place; false: it was not, and runs.
func (n *crasher) dies(within time.Duration) bool {
	n.t.Helper()
	for end := time.Now().Add(within); time.Now().Before(end); <-time.After(5 * time.Millisecond) {
		if _, err := os.Stat(n.wish()); err == nil {
			continue
		}
		if st := n.ended(endFor); st.Signal() != syscall.SIGKILL {
			n.t.Fatalf("the node ended with %s, want SIGKILL at the place", n.cmd.ProcessState)
		}
		kills.Add(1)
		return true
	}
	return false
}

// recovers starts the node again. Where a run is to be long, it is killed once
// more on its way: at any moment, or at any place that it comes to.
func (n *crasher) recovers(cell string) {
	n.t.Helper()
	if long() {
		n.killedAgain(cell)
		return
	}
	n.start()
}

// relaunch starts the node's process and returns what says, when that has been
// killed, whether it had not become ready yet.
func (n *crasher) relaunch() (early func() bool) {
	n.t.Helper()
	before := len(n.log.String())
	n.launch()
	return func() bool { return !strings.Contains(n.log.String()[before:], "node is ready") }
}

// killedAgain starts the node, kills it within half a second, and starts it.
func (n *crasher) killedAgain(cell string) {
	n.t.Helper()
	rnd := chance(n.t.Name() + cell)
	if all := failpoint.All(); rnd.IntN(2) == 0 {
		place := all[rnd.IntN(len(all))]
		n.arm(place)
		early := n.relaunch()
		if !n.dies(time.Second) {
			if n.disarm() {
				n.answers()
				return
			}
			n.dies(patience) // it came there meanwhile
		}
		again.count(early())
		n.t.Logf("killed again at %s", place)
	} else {
		after := time.Duration(50+rnd.IntN(450)) * time.Millisecond
		early := n.relaunch()
		<-time.After(after)
		n.kill()
		again.count(early())
		n.t.Logf("killed again after %s", after)
		kills.Add(1)
	}
	n.start()
}
