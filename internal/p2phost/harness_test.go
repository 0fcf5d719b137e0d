package p2phost_test

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/internal/p2phost"
	"github.com/ipdc/ipdc/internal/testenv"
)

const domain = "abcdefghijklmnopqrstuvwxyz"

// club is a domain for tests: members show a signature of its admin.
type club struct {
	psk   [32]byte
	admin identity.Key

	mu      sync.Mutex
	revoked map[identity.ID]bool
}

func newClub(t testing.TB) *club {
	c := &club{admin: newKey(t), revoked: map[identity.ID]bool{}}
	rand.Read(c.psk[:])
	return c
}

func newKey(t testing.TB) identity.Key {
	t.Helper()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (c *club) revoke(id identity.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.revoked[id] = true
}

// member is the guard of one node of a club.
type member struct {
	admin   identity.ID
	hello   []byte
	revoked func(identity.ID) bool
}

func (c *club) guard(id identity.ID) *member {
	return &member{c.admin.ID(), c.admin.Sign(memberPurpose, []byte(id)), c.isRevoked}
}

const memberPurpose = "test/member"

func (c *club) isRevoked(id identity.ID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.revoked[id]
}

func (m *member) Hello(context.Context) []byte { return m.hello }

func (m *member) Check(id identity.ID, hello []byte) error {
	if m.revoked(id) {
		return errors.New("revoked")
	}
	return identity.Verify(m.admin, memberPurpose, []byte(id), hello)
}

// config is that of a new member on loopback.
func (c *club) config(t testing.TB) p2phost.Config {
	key := newKey(t)
	return p2phost.Config{
		Domain: domain, Key: key, PSK: c.psk, Guard: c.guard(key.ID()), Listen: []string{"/ip4/127.0.0.1/tcp/0"},
		Every: 500 * time.Millisecond, Logger: logger(t),
	}
}

// logger shows a host's log when its test fails.
func logger(t testing.TB) *slog.Logger {
	var log testenv.Log
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(log.String())
		}
	})
	return slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func open(t testing.TB, cfg p2phost.Config) *p2phost.Host {
	t.Helper()
	h, err := p2phost.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return h
}

// echo answers on the protocol "echo", and counts the bytes that came.
func echo(h *p2phost.Host) *atomic.Int64 {
	var got atomic.Int64
	h.Libp2p().SetStreamHandler(h.Protocol("echo"), func(s network.Stream) {
		defer s.Close()
		n, _ := io.Copy(s, s)
		got.Add(n)
	})
	return &got
}

// say sends text to an echo and returns what comes back.
func say(ctx context.Context, from *p2phost.Host, to identity.ID, text []byte) ([]byte, error) {
	p, err := peer.Decode(string(to))
	if err != nil {
		return nil, err
	}
	s, err := from.Libp2p().NewStream(ctx, p, from.Protocol("echo"))
	if err != nil {
		return nil, err
	}
	defer s.Close()
	s.SetDeadline(time.Now().Add(time.Minute))
	sent := make(chan error, 1)
	go func() {
		_, err := s.Write(text)
		sent <- errors.Join(err, s.CloseWrite())
	}()
	back, err := io.ReadAll(s)
	return back, errors.Join(err, <-sent)
}

// newWire is a wire before a host's port.
func newWire(t testing.TB, h *p2phost.Host) *testenv.Wire {
	t.Helper()
	w := testenv.NewWire(t)
	w.LeadTo(tcpAddr(t, h.Listen()[0]))
	return w
}

// eventually waits until ok holds, at most two minutes.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	end := time.Now().Add(2 * time.Minute)
	for !ok() {
		if time.Now().After(end) {
			t.Fatalf("not in 2 min: %s", what)
		}
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func connected(h *p2phost.Host, to identity.ID) bool {
	for _, p := range h.Peers() {
		if p.ID == to {
			return true
		}
	}
	return false
}
