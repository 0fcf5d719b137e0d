package peering_test

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/sidecar/peering"
)

// A member opens streams for the tasks that it runs, to tasks of the same
// generation of their gang; the owner opens them to all. Each refusal has its
// twin that is not: the one that says the truth, or the attack without guard.
func TestMembersAreNotBelieved(t *testing.T) {
	m := newMembers(t, 4) // the owner, who runs a-0; who runs a-1; who runs a task of another gang; who runs nothing
	owner, honest, other, idle := m[0], m[1], m[2], m[3]
	tasks, _ := newGang(t, "one", owner, owner, honest)
	newGang(t, "two", owner, owner, other)
	go accept(tasks[0].listen(t))
	tasks[1].dial(t, "a-0") // the guest is up
	for _, tt := range []struct {
		name           string
		by             *member
		owner          identity.ID
		gang, from, to string
		joined, unsafe bool // without the guard
	}{
		{name: "a task of its own", by: honest, gang: "one", from: "a-1", to: "a-0", joined: true, unsafe: true},
		{name: "a task that another member runs", by: other, gang: "one", from: "a-1", to: "a-0", unsafe: true},
		{name: "a member of another gang", by: other, gang: "one", from: "a-0", to: "a-0", unsafe: true},
		{name: "no task, and not the owner", by: idle, gang: "one", to: "a-0", unsafe: true},
		{name: "a task that the gang does not have", by: honest, gang: "one", from: "a-9", to: "a-0", unsafe: true},
		{name: "another generation", by: honest, gang: "one'", from: "a-1", to: "a-0"},
		{name: "another owner", by: honest, owner: honest.id, gang: "one", from: "a-1", to: "a-0"},
		{name: "a task that runs elsewhere", by: honest, gang: "one", from: "a-0", to: "a-1"},
		{name: "no line", by: honest},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.owner == "" {
				tt.owner = owner.id
			}
			owner.Guarded(true)
			if got := ask(t, tt.by, owner, tt.owner, tt.gang, tt.from, tt.to); got != tt.joined {
				t.Errorf("joined = %t, want %t", got, tt.joined)
			}
			owner.Guarded(false)
			if got := ask(t, tt.by, owner, tt.owner, tt.gang, tt.from, tt.to); got != tt.unsafe {
				t.Errorf("joined without the guard = %t, want %t", got, tt.unsafe)
			}
		})
	}
}

// ask opens a stream to a member and says whether it joined it with a task.
func ask(t *testing.T, by, to *member, owner identity.ID, gang, from, task string) bool {
	t.Helper()
	for range 40 { // its guest may have all that wait in use
		s, err := by.bus.Stream(t.Context(), to.id, peering.Protocol)
		must(t, err)
		must(t, s.SetDeadline(time.Now().Add(patience)))
		must(t, peering.Ask(s, owner, gang, from, task))
		answer := make([]byte, 1)
		_, err = io.ReadFull(s, answer)
		_ = s.Reset()
		if err != nil || answer[0] == '+' {
			return err == nil
		}
	}
	return false
}

func accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_ = c.Close()
	}
}

// What a container says to its socket is bounded, and so is how much of it.
func TestHostileContainer(t *testing.T) {
	m := newMembers(t, 1)
	tasks, _ := newGang(t, "one", m[0], m[0], m[0])
	l := tasks[1].listen(t)
	for _, line := range []string{"", "\n", "to a-1", "to a-9\n", "to a-0\n", "to \n", "hello\n", "to ../a-1\n", string(make([]byte, 1<<20))} {
		c := tasks[0].socket(t)
		_, _ = io.WriteString(c, line) // it may be closed before all is said
		_ = c.CloseWrite()
		if b, err := io.ReadAll(c); len(b) > 0 && b[0] == '+' {
			t.Errorf("%.20q was joined, %v", line, err)
		}
	}
	var held []net.Conn
	for range 100 { // more than it may have
		c := tasks[0].socket(t)
		_, _ = io.WriteString(c, "accept\n")
		held = append(held, c)
	}
	open := 0
	for _, c := range held {
		must(t, c.SetReadDeadline(time.Now().Add(300*time.Millisecond)))
		if _, err := c.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
			open++
		}
	}
	if open > 8+32 {
		t.Errorf("%d connections are held for one container, want at most 40", open)
	}
	for _, c := range held {
		_ = c.Close()
	}
	tasks[0].reach(t, "a-1", l) // all is as before
}

func (k *task) socket(t *testing.T) *net.UnixConn {
	t.Helper()
	c, err := net.Dial("unix", filepath.Join(k.dir, "peers.sock"))
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	must(t, c.SetDeadline(time.Now().Add(patience)))
	return c.(*net.UnixConn)
}
