package peering_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ipdc/ipdc/bus/memory"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/peering"
	"github.com/ipdc/ipdc/wire/guest"
)

// binary is the guest, built as it is shipped.
var binary string

func TestMain(m *testing.M) { os.Exit(testenv.WithGuest(m, &binary)) }

// patience bounds what a test waits for.
const patience = time.Minute

// member is a node with an exchange.
type member struct {
	*peering.Exchange
	id  identity.ID
	bus *memory.Bus
}

func newMembers(t testing.TB, n int) []*member {
	t.Helper()
	nw := memory.New(memory.Config{})
	var list []*member
	for range n {
		key, err := identity.Generate()
		must(t, err)
		b, err := nw.Join(key.ID())
		must(t, err)
		m := &member{peering.New(peering.Config{Self: key.ID(), Streams: b, Conns: 8}), key.ID(), b}
		b.Handle(peering.Protocol, m.Serve)
		t.Cleanup(func() { must(t, b.Close()) })
		list = append(list, m)
	}
	return list
}

// hosts are addresses that nothing else listens on.
var hosts atomic.Int32

// task is one task of a gang that runs in a process with the guest, at a
// loopback address that stands for its container. Its program is this test's.
type task struct {
	name string
	host string
	dir  string // of its socket
	port *peering.Port
	all  []guest.Peer
}

// gang is three tasks, a-0, a-1 and b-0, each at the member of its index.
func newGang(t testing.TB, id string, owner *member, at ...*member) (tasks []*task, facts jobspec.Peers) {
	t.Helper()
	facts = jobspec.Peers{Gang: id, Generation: 1}
	var all []guest.Peer
	for i, m := range at {
		name := []string{"a-0", "a-1", "b-0"}[i]
		facts.Tasks = append(facts.Tasks, jobspec.GangPeer{Name: name, Role: name[:1], Port: 20000 + i, Node: m.id.String()})
		all = append(all, guest.Peer{Name: name, Port: 20000 + i})
	}
	for i, m := range at {
		self := facts
		self.Self = i
		tasks = append(tasks, startTask(t, m, peering.Of(owner.id, self), all, i))
	}
	return tasks, facts
}

func startTask(t testing.TB, m *member, g peering.Gang, all []guest.Peer, self int) *task {
	t.Helper()
	root := t.TempDir()
	dir := filepath.Join(root, guest.PeersDir)
	p, err := m.Open(dir, g, peering.Usage{}, slog.New(slog.DiscardHandler))
	must(t, err)
	tk := &task{name: all[self].Name, host: fmt.Sprintf("127.77.%d.%d", os.Getpid()%250+1, hosts.Add(1)), dir: dir, port: p, all: all}
	b, err := json.Marshal(guest.Task{Command: []string{"sleep", "100000"}, Peers: all, Self: self})
	must(t, err)
	for _, dir := range []string{guest.ReportDir, guest.Inputs, guest.Outputs} {
		must(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	must(t, os.WriteFile(filepath.Join(root, guest.TaskFile), b, 0o644))
	cmd := exec.Command(binary, "-root", root, "-host", tk.host)
	cmd.Stderr = t.Output()
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // by that signal
		must(t, p.Close())
	})
	return tk
}

// listen is the task's program taking connections.
func (k *task) listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", k.at(k.name))
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// at is where the task's program finds a peer, or itself.
func (k *task) at(name string) string {
	for _, p := range k.all {
		if p.Name == name {
			return net.JoinHostPort(k.host, strconv.Itoa(p.Port))
		}
	}
	return ""
}

// dial connects to a peer, once the guest offers it.
func (k *task) dial(t testing.TB, name string) *net.TCPConn {
	t.Helper()
	for end := time.Now().Add(patience); ; {
		c, err := net.Dial("tcp", k.at(name))
		if err == nil {
			t.Cleanup(func() { _ = c.Close() })
			must(t, c.SetDeadline(time.Now().Add(patience)))
			return c.(*net.TCPConn)
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
		runtime.Gosched()
	}
}

// reach is dial until the peer's program answers: its guest may not wait yet.
func (k *task) reach(t testing.TB, name string, l net.Listener) (near, far *net.TCPConn) {
	t.Helper()
	for range 100 {
		near = k.dial(t, name)
		must(t, l.(*net.TCPListener).SetDeadline(time.Now().Add(patience/10)))
		c, err := l.Accept()
		if err != nil {
			continue
		}
		t.Cleanup(func() { _ = c.Close() })
		must(t, c.SetDeadline(time.Now().Add(patience)))
		return near, c.(*net.TCPConn)
	}
	t.Fatalf("%s never reaches %s", k.name, name)
	return nil, nil
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
