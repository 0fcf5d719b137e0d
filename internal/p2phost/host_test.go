package p2phost_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	ma "github.com/multiformats/go-multiaddr"
	"go.uber.org/goleak"

	"github.com/ipdc/ipdc/internal/p2phost"
	"github.com/ipdc/ipdc/internal/testenv"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// Started by packages of others when they are loaded.
		goleak.IgnoreAnyFunction("github.com/ipfs/go-log/v2/writer.(*MirrorWriter).logRoutine"),
	)
}

// ownPort is where to listen, again and again: nobody else is given the port.
func ownPort(t testing.TB) []string {
	t.Helper()
	host, port, err := net.SplitHostPort(testenv.Port(t))
	if err != nil {
		t.Fatal(err)
	}
	return []string{"/ip4/" + host + "/tcp/" + port}
}

func tcpAddr(t testing.TB, text string) string {
	t.Helper()
	a, err := ma.NewMultiaddr(text)
	if err != nil {
		t.Fatal(err)
	}
	ip, err := a.ValueForProtocol(ma.P_IP4)
	if err != nil {
		t.Fatal(err)
	}
	port, err := a.ValueForProtocol(ma.P_TCP)
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort(ip, port)
}

func multiaddr(l net.Listener) string {
	a := l.Addr().(*net.TCPAddr)
	return fmt.Sprintf("/ip4/%s/tcp/%d", a.IP, a.Port)
}

func TestTwoHostsTalk(t *testing.T) {
	c := newClub(t)
	a, b := open(t, c.config(t)), open(t, c.config(t))
	got := echo(b)
	if err := a.Connect(t.Context(), b.ID(), b.Listen()); err != nil {
		t.Fatal(err)
	}
	text := bytes.Repeat([]byte("ipdc"), 1<<18)
	back, err := say(t.Context(), a, b.ID(), text)
	if err != nil || !bytes.Equal(back, text) {
		t.Fatalf("echo of %d bytes: %d bytes, %v", len(text), len(back), err)
	}
	eventually(t, "the echo has counted", func() bool { return got.Load() == int64(len(text)) })
	eventually(t, "the latency is known", func() bool { return len(a.Peers()) == 1 && a.Peers()[0].Latency > 0 })
	p := a.Peers()
	if len(p) != 1 || p[0].ID != b.ID() || p[0].Relayed || len(p[0].Addrs) != 1 || time.Since(p[0].Since) > time.Hour {
		t.Errorf("Peers() = %+v", p)
	}
}

// Several hosts of one process open at once, under the race detector.
func TestOpenBesideEachOther(t *testing.T) {
	c := newClub(t)
	var all sync.WaitGroup
	for range 4 {
		cfg := c.config(t)
		all.Go(func() {
			h, err := p2phost.Open(t.Context(), cfg)
			if err == nil {
				err = h.Close()
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// A newcomer that knows one address gets to know all, and they it.
func TestMembersLearnEachOther(t *testing.T) {
	c := newClub(t)
	hub := open(t, c.config(t))
	var all []*p2phost.Host
	for range 4 {
		h := open(t, c.config(t))
		if err := h.Connect(t.Context(), hub.ID(), hub.Listen()); err != nil {
			t.Fatal(err)
		}
		all = append(all, h)
	}
	eventually(t, "everybody has four peers", func() bool {
		for _, h := range all {
			if len(h.Peers()) != 4 {
				return false
			}
		}
		return true
	})
}

// After a restart on the port that it got, a node finds the members by itself,
// and they find it.
func TestBookAndPortsAreKept(t *testing.T) {
	c := newClub(t)
	a, cfg := open(t, c.config(t)), c.config(t)
	cfg.Listen = ownPort(t)
	b, err := p2phost.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Connect(t.Context(), a.ID(), a.Listen()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both know each other's addresses", func() bool { return len(a.Book()) > 100 && len(b.Book()) > 100 })
	listen := b.Listen()
	cfg.Listen, cfg.Book = listen, b.Book()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, cfg)
	if diff := cmp.Diff(listen, again.Listen()); diff != "" {
		t.Errorf("addresses after the restart (-before +after):\n%s", diff)
	}
	eventually(t, "the node has found its peer again", func() bool { return connected(again, a.ID()) })
}

// A node that is new says so until each member that it knows was tried once.
func TestDialling(t *testing.T) {
	c := newClub(t)
	first, cfg := c.config(t), c.config(t)
	first.Listen = ownPort(t)
	a := open(t, first)
	b := open(t, cfg)
	if err := b.Connect(t.Context(), a.ID(), a.Listen()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the node knows its peer's addresses", func() bool { return len(b.Book()) > 100 })
	eventually(t, "a node that knew nobody has tried all", func() bool { return !b.Dialling() })
	cfg.Book = b.Book()
	at := tcpAddr(t, a.Listen()[0])
	if err := errors.Join(a.Close(), b.Close()); err != nil {
		t.Fatal(err)
	}
	mute, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	again := open(t, cfg)
	conn, err := mute.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if !again.Dialling() {
		t.Error("Dialling() = false while the one member that is known has not answered")
	}
	if err := errors.Join(mute.Close(), conn.Close()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the member was tried", func() bool { return !again.Dialling() })
}

func TestTakenPortIsAnError(t *testing.T) {
	c := newClub(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cfg := c.config(t)
	cfg.Listen = []string{multiaddr(l), "/ip4/127.0.0.1/tcp/0"}
	if h, err := p2phost.Open(t.Context(), cfg); err == nil {
		h.Close()
		t.Error("Open() with a port that is taken succeeds")
	}
}

// Who is revoked loses its connections at once, and gets no new one.
func TestRecheckDropsRevoked(t *testing.T) {
	c := newClub(t)
	a, b := open(t, c.config(t)), open(t, c.config(t))
	echo(a)
	if err := b.Connect(t.Context(), a.ID(), a.Listen()); err != nil {
		t.Fatal(err)
	}
	if _, err := say(t.Context(), b, a.ID(), []byte("x")); err != nil {
		t.Fatal(err) // the control: a member is heard
	}
	c.revoke(b.ID())
	if _, err := say(t.Context(), b, a.ID(), []byte("x")); err == nil {
		t.Error("a stream of a revoked member is served")
	}
	a.Recheck()
	eventually(t, "the connection is gone", func() bool { return !connected(a, b.ID()) })
	if err := b.Connect(t.Context(), a.ID(), a.Listen()); err == nil {
		eventually(t, "the new connection is dropped", func() bool { return !connected(a, b.ID()) })
	}
}

// A door takes who has its key, and nobody of the members' network.
func TestDoor(t *testing.T) {
	c := newClub(t)
	var key [32]byte
	key[0] = 1
	at := p2phost.Config{Domain: domain, Key: newKey(t), PSK: key, Door: true, Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Logger: logger(t)}
	door := open(t, at)
	got := echo(door)
	at.Key, at.Listen = newKey(t), []string{}
	stranger := open(t, at)
	if n := len(stranger.Listen()); n != 0 {
		t.Errorf("a host that is to listen on nothing listens on %d addresses", n)
	}
	if err := stranger.Connect(t.Context(), door.ID(), door.Listen()); err != nil {
		t.Fatal(err)
	}
	if back, err := say(t.Context(), stranger, door.ID(), []byte("knock")); err != nil || string(back) != "knock" {
		t.Errorf("a stranger at the door is answered %q, %v", back, err)
	}
	member := open(t, c.config(t))
	before := got.Load()
	if err := member.Connect(t.Context(), door.ID(), door.Listen()); err == nil {
		t.Error("the members' key opens the door")
	}
	if n := got.Load(); n != before {
		t.Errorf("%d bytes came through the door", n-before)
	}
}
