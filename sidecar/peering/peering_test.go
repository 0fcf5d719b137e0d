package peering_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

// Tasks of a gang reach each other at one node and at two, and each side ends
// its direction by itself.
func TestStreams(t *testing.T) {
	for _, tt := range []struct {
		name    string
		members int
	}{{"at one node", 1}, {"at two nodes", 2}} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMembers(t, tt.members)
			tasks, _ := newGang(t, "one", m[0], m[0], m[len(m)-1], m[0])
			l := tasks[1].listen(t)
			near, far := tasks[0].reach(t, "a-1", l)
			question, answer := make([]byte, 3<<20), make([]byte, 5<<20)
			rand.Read(question)
			rand.Read(answer)
			before := tasks[1].port.Usage()
			var said sync.WaitGroup
			said.Go(func() {
				_, err := near.Write(question)
				if err = errors.Join(err, near.CloseWrite()); err != nil {
					t.Error(err)
				}
			})
			got, err := io.ReadAll(far) // ends although the other way is open
			must(t, err)
			said.Wait()
			if !bytes.Equal(got, question) {
				t.Errorf("got %d bytes, want the %d that were sent", len(got), len(question))
			}
			said.Go(func() {
				_, err := far.Write(answer)
				if err = errors.Join(err, far.Close()); err != nil {
					t.Error(err)
				}
			})
			got, err = io.ReadAll(near)
			must(t, err)
			said.Wait()
			if !bytes.Equal(got, answer) {
				t.Errorf("got %d bytes back, want the %d that were sent", len(got), len(answer))
			}
			u := tasks[1].port.Usage()
			in, out := int(u.In-before.In), int(u.Out-before.Out)
			if in < len(question) || in > len(question)*11/10 || out < len(answer) || out > len(answer)*11/10 {
				t.Errorf("Usage of the task = %d in, %d out, want about %d and %d", in, out, len(question), len(answer))
			}
		})
	}
}

// A peer whose program does not listen, and one that is not there, is a
// connection that breaks; when it listens, the next one works.
func TestDeafPeer(t *testing.T) {
	m := newMembers(t, 2)
	tasks, _ := newGang(t, "one", m[0], m[0], m[1], m[1])
	broken := func(name string) {
		t.Helper()
		if n, err := tasks[0].dial(t, name).Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read of a peer that does not listen = %d, %v, want a broken connection", n, err)
		}
	}
	broken("a-1")
	tasks[0].reach(t, "a-1", tasks[1].listen(t))
	must(t, tasks[2].port.Close())
	broken("b-0")
}

// What a stream lost is never taken for its end.
func TestCutStream(t *testing.T) {
	m := newMembers(t, 2)
	for name, end := range map[string]func(near, far *net.TCPConn, tasks []*task){
		"the peer's program breaks it": func(_, far *net.TCPConn, _ []*task) { _, _ = far.SetLinger(0), far.Close() },
		"the peer's node goes":         func(_, _ *net.TCPConn, tasks []*task) { _ = tasks[1].port.Close() },
		"the own node goes":            func(_, _ *net.TCPConn, tasks []*task) { _ = tasks[0].port.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			tasks, _ := newGang(t, name, m[0], m[0], m[1])
			near, far := tasks[0].reach(t, "a-1", tasks[1].listen(t))
			must(t, near.CloseWrite())
			if _, err := far.Write([]byte("half of")); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(near, make([]byte, 7)); err != nil {
				t.Fatal(err)
			}
			end(near, far, tasks)
			if _, err := io.ReadAll(near); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("reading goes on with %v, want a broken connection", err)
			}
		})
	}
}

// A reader that takes nothing holds up its own stream, and little of it.
func TestSlowReader(t *testing.T) {
	m := newMembers(t, 2)
	tasks, _ := newGang(t, "one", m[0], m[0], m[1])
	l := tasks[1].listen(t)
	slow, _ := tasks[0].reach(t, "a-1", l)
	must(t, slow.SetWriteDeadline(time.Now().Add(2*time.Second)))
	sent, err := slow.Write(make([]byte, 256<<20))
	if !errors.Is(err, os.ErrDeadlineExceeded) || sent > 64<<20 {
		t.Errorf("a peer that reads nothing took %d bytes, %v; want it to stop before 64 MiB", sent, err)
	}
	near, far := tasks[0].reach(t, "a-1", l)
	if _, err := near.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(far, make([]byte, 1)); err != nil {
		t.Errorf("another stream: %v", err)
	}
}
