package e2e

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipdc/ipdc/domain"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/internal/p2phost"
)

// wireTap is a proxy before a node's port that counts the bytes of each
// direction.
type wireTap struct {
	addr     string // multiaddr
	target   atomic.Pointer[string]
	conns    atomic.Int64
	to, from atomic.Int64
}

func newWire(t testing.TB) *wireTap {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wireTap{addr: "/ip4/127.0.0.1/tcp/" + port(l.Addr().String())}
	var running sync.WaitGroup
	t.Cleanup(func() { l.Close(); running.Wait() })
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			w.conns.Add(1)
			running.Go(func() { w.carry(c) })
		}
	})
	return w
}

func port(addr string) string { return addr[strings.LastIndex(addr, ":")+1:] }

// leadTo makes the wire end at a node.
func (w *wireTap) leadTo(n *node) {
	n.t.Helper()
	b, err := os.ReadFile(filepath.Join(n.dir, "p2p.json"))
	if err != nil {
		n.t.Fatal(err)
	}
	var r struct{ Listen []string }
	if err := json.Unmarshal(b, &r); err != nil || len(r.Listen) != 1 {
		n.t.Fatalf("p2p.json: %s", b)
	}
	target := "127.0.0.1:" + r.Listen[0][strings.LastIndex(r.Listen[0], "/")+1:]
	w.target.Store(&target)
}

func (w *wireTap) carry(c net.Conn) {
	defer c.Close()
	target := w.target.Load()
	if target == nil {
		return
	}
	d, err := net.Dial("tcp", *target)
	if err != nil {
		return
	}
	defer d.Close()
	var both sync.WaitGroup
	both.Go(func() { count(d, c, &w.to); _ = d.(*net.TCPConn).CloseWrite() })
	both.Go(func() { count(c, d, &w.from); _ = c.(*net.TCPConn).CloseWrite() })
	both.Wait()
}

func count(dst io.Writer, src io.Reader, n *atomic.Int64) {
	b := make([]byte, 32<<10)
	for {
		got, err := src.Read(b)
		n.Add(int64(got))
		if _, werr := dst.Write(b[:got]); err != nil || werr != nil {
			return
		}
	}
}

// Before the first byte of a protocol comes what agrees on keys: the nonce of
// the private network with a greeting that only its members can read, and for
// those the handshake of Noise.
const (
	greeting  = 24 + 20
	handshake = greeting + 280
)

// state is what somebody has who took a copy of a node's state.
type state struct {
	domain string
	key    identity.Key
	psk    [32]byte
	proof  []byte
}

func (n *node) state() state {
	n.t.Helper()
	m, err := domain.Files{Dir: n.dir}.Load()
	if err != nil {
		n.t.Fatal(err)
	}
	key, err := identity.Load(filepath.Join(n.dir, "identity.key"))
	if err != nil {
		n.t.Fatal(err)
	}
	return state{m.ID().String(), key, m.PSK(), m.Proof()}
}

// Hello implements p2phost.Guard.
func (s state) Hello(context.Context) []byte { return s.proof }

// Check implements p2phost.Guard: a stranger takes everybody.
func (state) Check(identity.ID, []byte) error { return nil }

// knocks connects to a node over a wire. It returns the bytes that came from
// the node, and whether it let the stranger in.
func (s state) knocks(t *testing.T, id string, w *wireTap) (from int64, in bool) {
	t.Helper()
	h, err := p2phost.Open(t.Context(), p2phost.Config{Domain: s.domain, Key: s.key, PSK: s.psk, Guard: s, Listen: []string{loopback}})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	conns, before := w.conns.Load(), w.from.Load()
	err = h.Connect(ctx, identity.ID(id), []string{w.addr})
	if w.conns.Load() == conns {
		t.Fatalf("nobody has knocked: %v", err)
	}
	if err == nil { // a member hears what the node is
		for end := time.Now().Add(20 * time.Second); w.from.Load()-before <= handshake && time.Now().Before(end); {
			<-time.After(20 * time.Millisecond)
		}
	}
	return w.from.Load() - before, err == nil && len(h.Peers()) == 1
}
