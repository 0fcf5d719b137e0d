package peering_test

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"runtime"
	"sync/atomic"
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
	tasks[0].reach(t, "a-1", l) // all is as before
}

// Connections that say nothing, or half of what they want, are bounded for each
// task, for its gang and for the node.
func TestSilentContainers(t *testing.T) {
	const tried = 50 // by each of four tasks
	for name, tt := range map[string]struct {
		conns, total int
		apart        bool   // each task is a gang; else two of them are one
		want         [4]int // held
	}{
		"no bound":        {conns: 1000, total: 10_000, want: [4]int{tried, tried, tried, tried}},
		"of one task":     {conns: 8, want: [4]int{40, 40, 40, 40}},
		"of one gang":     {conns: 1000, total: 140, want: [4]int{tried, 20, tried, 20}},
		"of all together": {conns: 1000, total: 121, apart: true, want: [4]int{tried, tried, 21, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			key, err := identity.Generate()
			must(t, err)
			x := peering.New(peering.Config{Self: key.ID(), Conns: tt.conns, Total: tt.total})
			x.Patient()
			for i, want := range tt.want {
				dir, gang := t.TempDir(), i/2
				if tt.apart {
					gang = i
				}
				p, err := x.Open(dir, peering.Gang{Owner: key.ID(), ID: fmt.Sprint(gang), Self: fmt.Sprint(i)}, peering.Usage{}, slog.New(slog.DiscardHandler))
				must(t, err)
				t.Cleanup(func() {
					must(t, p.Close())
					if i == 0 { // the last one
						if conns, gangs := x.Total(); conns+gangs != 0 {
							t.Errorf("%d connections of %d gangs are counted after all", conns, gangs)
						}
					}
				})
				var closed atomic.Int64
				for j := range tried {
					c := (&task{dir: dir}).socket(t)
					_, _ = io.WriteString(c, "acc"[:j%4]) // it may be closed already
					go func() {
						_, _ = c.Read(make([]byte, 1))
						closed.Add(1)
					}()
				}
				for end := time.Now().Add(patience); closed.Load() < int64(tried-want) || p.Held() < want; runtime.Gosched() {
					if p.Held() > want || time.Now().After(end) {
						t.Fatalf("task %d: %d connections are held and %d closed, want %d held", i, p.Held(), closed.Load(), want)
					}
				}
			}
		})
	}
}

func (k *task) socket(t *testing.T) *net.UnixConn {
	t.Helper()
	c, err := net.Dial("unix", filepath.Join(k.dir, "peers.sock"))
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	must(t, c.SetDeadline(time.Now().Add(patience)))
	return c.(*net.UnixConn)
}
