package p2phost_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/pnet"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/internal/p2phost"
	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/jobspec"
)

// secret is what no stranger may get, nor a part of it.
var secret = bytes.Repeat([]byte("0123456789abcdef"), 4<<10)

// Before a byte that a member would send comes what agrees on keys: the nonce
// of the private network with a greeting that only its members can read, and
// for those the handshake of Noise. Identify alone is longer than either.
const (
	greeting  = 24 + 20
	handshake = greeting + 280
)

// knock lets a stranger connect to a host with an echo, over a wire that
// counts. It returns what the wire carried, and whether the stranger got in.
func knock(t *testing.T, c *club, stranger p2phost.Config) (w *testenv.Wire, answered []byte, heard int64) {
	t.Helper()
	victim := open(t, c.config(t))
	got := echo(victim)
	w = newWire(t, victim)
	s := open(t, stranger)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := s.Connect(ctx, victim.ID(), []string{w.Multiaddr()}); err == nil {
		answered, _ = say(ctx, s, victim.ID(), secret)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	eventually(t, "both ends of the wire are closed, so that all is counted", func() bool { return w.Open() == 0 })
	return w, answered, got.Load()
}

func TestP01StrangerGetsNoApplicationByte(t *testing.T) {
	c := newClub(t)
	for name, test := range map[string]struct {
		change func(*p2phost.Config)
		limit  int64 // of bytes on the wire from the member; 0: it talks
	}{
		"control: a member": {func(*p2phost.Config) {}, 0},
		"wrong key":         {func(cfg *p2phost.Config) { cfg.PSK[31] ^= 1 }, greeting},
		"right key, no certificate": {func(cfg *p2phost.Config) {
			cfg.Guard.(*member).hello = nil
		}, handshake},
		"right key, certificate of another": {func(cfg *p2phost.Config) {
			cfg.Guard = c.guard(newKey(t).ID())
		}, handshake},
		"right key, certificate of another domain": {func(cfg *p2phost.Config) {
			cfg.Guard.(*member).hello = newClub(t).guard(cfg.Key.ID()).hello
		}, handshake},
		"right key, certificate of 17 KiB": {func(cfg *p2phost.Config) {
			cfg.Guard.(*member).hello = make([]byte, 17<<10)
		}, handshake},
		"right key and certificate, as a door": {func(cfg *p2phost.Config) {
			cfg.Guard, cfg.Door = nil, true
		}, handshake},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := c.config(t)
			test.change(&cfg)
			w, answered, heard := knock(t, c, cfg)
			t.Logf("on the wire: %d bytes to the member, %d from it", w.To(), w.From())
			if test.limit == 0 {
				if !bytes.Equal(answered, secret) || w.From() < int64(len(secret)) || heard != int64(len(secret)) {
					t.Errorf("a member got %d of %d bytes back, %d of them over the wire", len(answered), len(secret), w.From())
				}
				return
			}
			if w.Conns() == 0 {
				t.Error("the stranger never knocked")
			}
			if len(answered) > 0 || heard > 0 {
				t.Errorf("the stranger was heard (%d bytes) and answered (%d bytes)", heard, len(answered))
			}
			if n := w.From(); n > test.limit {
				t.Errorf("%d bytes from the member on the wire; at most %d agree on keys", n, test.limit)
			}
		})
	}
}

func TestP02NeverWithoutKey(t *testing.T) {
	c := newClub(t)
	cfg := c.config(t)
	open(t, cfg) // the control, and what sets the switch of libp2p
	cfg.PSK = [32]byte{}
	h, err := p2phost.Open(t.Context(), cfg)
	if err == nil {
		h.Close()
	}
	if !errors.Is(err, jobspec.KindPNet.Error()) {
		t.Errorf("Open() without a key: %v, want E_PNET", err)
	}
	// With this libp2p itself refuses every connection without a key.
	if !pnet.ForcePrivateNetwork {
		t.Error("libp2p is not told to be private")
	}
}

// One secret used for two domains connects nobody, even with a certificate
// that both would take.
func TestP03SameKeyOtherDomain(t *testing.T) {
	c := newClub(t)
	cfg := c.config(t)
	cfg.Domain = strings.Repeat("z", 26)
	w, answered, heard := knock(t, c, cfg)
	if w.Conns() == 0 || len(answered) > 0 || heard > 0 || w.From() > greeting+64 {
		t.Errorf("over %d connections, heard %d bytes, answered %d, on the wire %d", w.Conns(), heard, len(answered), w.From())
	}
}

func TestP06OnlyTCP(t *testing.T) {
	c := newClub(t)
	for _, addr := range []string{
		"/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/udp/0/quic-v1/webtransport", "/ip4/127.0.0.1/udp/0/webrtc-direct",
		"/ip4/127.0.0.1/tcp/0/ws", "/ip4/127.0.0.1/tcp/0/tls/ws", "/unix/tmp/x", "/ip4/127.0.0.1",
	} {
		cfg := c.config(t)
		cfg.Listen = append(cfg.Listen, addr)
		h, err := p2phost.Open(t.Context(), cfg)
		if err == nil {
			h.Close()
		}
		if !errors.Is(err, jobspec.KindPNet.Error()) {
			t.Errorf("Open() that listens on %s: %v, want E_PNET", addr, err)
		}
	}
	tcp, udp := len(sockets(t, "tcp")), len(sockets(t, "udp"))
	h := open(t, c.config(t))
	if n := len(sockets(t, "tcp")); n <= tcp {
		t.Errorf("%d TCP sockets with a host, %d without", n, tcp) // the control of the next line
	}
	if n := len(sockets(t, "udp")); n != udp {
		t.Errorf("%d UDP sockets with a host, %d without", n, udp)
	}
	for _, a := range h.Libp2p().Network().ListenAddresses() {
		if _, err := a.ValueForProtocol(ma.P_UDP); err == nil {
			t.Errorf("listens on %s", a)
		}
	}
}

// sockets returns this process's sockets of a kind, IPv4 and IPv6.
func sockets(t *testing.T, kind string) (found []string) {
	t.Helper()
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil || len(fds) == 0 {
		t.Skip("needs /proc")
	}
	own := map[string]bool{}
	for _, fd := range fds {
		if link, err := os.Readlink(fd); err == nil && strings.HasPrefix(link, "socket:[") {
			own[strings.TrimSuffix(strings.TrimPrefix(link, "socket:["), "]")] = true
		}
	}
	for _, v := range []string{"", "6"} {
		data, err := os.ReadFile("/proc/self/net/" + kind + v)
		if err != nil {
			continue
		}
		for _, line := range strings.Split(string(data), "\n") {
			if f := strings.Fields(line); len(f) > 9 && own[f[9]] {
				found = append(found, line)
			}
		}
	}
	return found
}

// Whatever a protocol over the host asks for, nobody is dialled that is no
// member; nor is one that a member names without a certificate.
func TestP07NobodyOutsideIsDialled(t *testing.T) {
	c := newClub(t)
	a, b := open(t, c.config(t)), open(t, c.config(t))
	if err := a.Connect(t.Context(), b.ID(), b.Listen()); err != nil {
		t.Fatal(err)
	}
	outside, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	stranger, err := peer.Decode(string(newKey(t).ID()))
	if err != nil {
		t.Fatal(err)
	}
	addr := ma.StringCast(multiaddr(outside))
	inner := a.Libp2p()
	inner.Peerstore().AddAddr(stranger, addr, peerstore.PermanentAddrTTL)
	if err := inner.Connect(t.Context(), peer.AddrInfo{ID: stranger, Addrs: []ma.Multiaddr{addr}}); err == nil {
		t.Error("a stranger was dialled")
	}
	if _, err := inner.NewStream(t.Context(), stranger, "/x"); err == nil {
		t.Error("a stranger was dialled for a stream")
	}
	if accepted(outside, 200*time.Millisecond) {
		t.Error("a connection came to somebody who is no member")
	}
	// The control: the same address is dialled when the user names it.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- a.Connect(ctx, identity.ID(stranger.String()), []string{addr.String()}) }()
	if !accepted(outside, time.Minute) {
		t.Error("the address that the user named was not dialled")
	}
	cancel()
	if err := <-done; err == nil {
		t.Error("a silent listener is a member")
	}
}

func accepted(l net.Listener, within time.Duration) bool {
	l.(*net.TCPListener).SetDeadline(time.Now().Add(within))
	c, err := l.Accept()
	if err == nil {
		c.Close()
	}
	return err == nil
}

func TestP10Frames(t *testing.T) {
	var b bytes.Buffer
	if err := p2phost.WriteFrame(&b, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if got, err := p2phost.ReadFrame(&b, 5); err != nil || string(got) != "hello" {
		t.Errorf("ReadFrame() = %q, %v", got, err) // the control
	}
	if err := p2phost.WriteFrame(io.Discard, make([]byte, p2phost.MaxFrame+1)); err == nil {
		t.Error("WriteFrame() of more than MaxFrame succeeds")
	}
	for name, in := range map[string]string{
		"1 GiB": "\x40\x00\x00\x00", "4 GiB": "\xff\xff\xff\xff", "one over the limit": "\x00\x00\x00\x06abcdef", "cut": "\x00\x00\x00\x05hel", "half a length": "\x00\x00",
	} {
		allocs := testing.AllocsPerRun(1, func() {
			if got, err := p2phost.ReadFrame(strings.NewReader(in), 5); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("ReadFrame(%s) = %q, %v", name, got, err)
			}
		})
		if allocs > 20 {
			t.Errorf("ReadFrame(%s) allocates %v times", name, allocs)
		}
	}
}

// A length alone costs no memory: it grows with what comes.
func TestP10FramesGrow(t *testing.T) {
	cost := func(in string) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 100 {
			p2phost.ReadFrame(strings.NewReader(in), p2phost.MaxFrame)
		}
		runtime.ReadMemStats(&after)
		return (after.TotalAlloc - before.TotalAlloc) / 100
	}
	head := "\x00\x04\x00\x00" // 256 KiB
	if n := cost(head + "abc"); n > 16<<10 {
		t.Errorf("a length and 3 bytes cost %d bytes", n)
	}
	if n := cost(head + strings.Repeat("x", p2phost.MaxFrame)); n < p2phost.MaxFrame {
		t.Errorf("a whole frame costs %d bytes", n) // the control
	}
}

// A member may be broken or bought: what it floods with is bounded, and others
// are served meanwhile.
func TestP10FloodIsBounded(t *testing.T) {
	c := newClub(t)
	cfg := c.config(t)
	cfg.Limits.Streams = 32
	victim := open(t, cfg)
	echo(victim)
	bad, good := open(t, c.config(t)), open(t, c.config(t))
	for _, h := range []*p2phost.Host{bad, good} {
		if err := h.Connect(t.Context(), victim.ID(), victim.Listen()); err != nil {
			t.Fatal(err)
		}
	}
	p, err := peer.Decode(string(victim.ID()))
	if err != nil {
		t.Fatal(err)
	}
	open := 0
	for range 200 {
		s, err := bad.Libp2p().NewStream(t.Context(), p, bad.Protocol("echo"))
		if err != nil {
			break
		}
		if _, err := s.Write([]byte("x")); err != nil {
			break
		}
		s.SetDeadline(time.Now().Add(time.Minute))
		if _, err := s.Read(make([]byte, 1)); err != nil {
			break
		}
		open++
	}
	if open == 0 || open > 32 {
		t.Errorf("one peer holds %d streams open, want 1 to 32", open)
	}
	if back, err := say(t.Context(), good, victim.ID(), []byte("still there?")); err != nil || string(back) != "still there?" {
		t.Errorf("another member is answered %q, %v", back, err)
	}
}

// A length of 1 GiB ends the exchange of addresses at once; so does silence
// in the midst of a frame, in time.
func TestP10ExchangeIsBounded(t *testing.T) {
	c := newClub(t)
	victim, bad := open(t, c.config(t)), open(t, c.config(t))
	if err := bad.Connect(t.Context(), victim.ID(), victim.Listen()); err != nil {
		t.Fatal(err)
	}
	p, err := peer.Decode(string(victim.ID()))
	if err != nil {
		t.Fatal(err)
	}
	for name, in := range map[string]string{"1 GiB": "\x40\x00\x00\x00", "not CBOR": "\x00\x00\x00\x02\xff\xff"} {
		s, err := bad.Libp2p().NewStream(network.WithNoDial(t.Context(), "test"), p, bad.Protocol("peers/1"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Write([]byte(in)); err != nil {
			t.Fatal(err)
		}
		s.SetReadDeadline(time.Now().Add(time.Minute))
		_, err = io.ReadAll(s)
		if !errors.Is(err, network.ErrReset) {
			t.Errorf("exchange of %s: %v, want a reset", name, err)
		}
	}
	if !connected(victim, bad.ID()) {
		t.Error("the victim has lost the connection")
	}
}
