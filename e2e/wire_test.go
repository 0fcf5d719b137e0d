package e2e

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/domain"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/internal/p2phost"
	"github.com/ipdc/ipdc/internal/testenv"
)

// listens returns host:port of where members reach a node.
func (n *node) listens() string {
	n.t.Helper()
	b, err := os.ReadFile(filepath.Join(n.dir, "p2p.json"))
	if err != nil {
		n.t.Fatal(err)
	}
	var r struct{ Listen []string }
	if err := json.Unmarshal(b, &r); err != nil || len(r.Listen) != 1 {
		n.t.Fatalf("p2p.json: %s", b)
	}
	return "127.0.0.1:" + r.Listen[0][strings.LastIndex(r.Listen[0], "/")+1:]
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

// knocks connects to a node over a wire that nobody else uses. It returns the
// bytes that came from the node until both ends were closed, and whether it let
// the stranger in.
func (s state) knocks(t *testing.T, id string, w *testenv.Wire) (from int64, in bool) {
	t.Helper()
	h, err := p2phost.Open(t.Context(), p2phost.Config{Domain: s.domain, Key: s.key, PSK: s.psk, Guard: s, Listen: []string{loopback}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conns, before := w.Conns(), w.From()
	err = h.Connect(ctx, identity.ID(id), []string{w.Multiaddr()})
	if w.Conns() == conns {
		t.Errorf("nobody has knocked: %v", err)
	}
	if err == nil { // a member hears what the node is
		until(t, "the node to say what it is", func() bool { return w.From()-before > handshake || len(h.Peers()) == 0 })
	}
	in = err == nil && len(h.Peers()) == 1
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	until(t, "both ends of the wire to be closed, so that all is counted", func() bool { return w.Open() == 0 })
	return w.From() - before, in
}

// until waits for what takes no node.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !ok(); <-time.After(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited 2 minutes for %s", what)
		}
	}
}
