// Package p2phosttest has hosts for tests of what stands on package p2phost.
//
//	func TestMain(m *testing.M) { p2phosttest.Main(m) }
//
//	h := p2phosttest.Open(t, p2phosttest.Config(key))
//
// Invariants: hosts of its configurations are in one private network on the
// loopback, and a host is closed at the end of its test.
package p2phosttest

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/internal/p2phost"
)

// Main runs the tests of a package and ends the process. They fail when a
// goroutine is left.
func Main(m *testing.M) {
	goleak.VerifyTestMain(m,
		// Started by packages of others when they are loaded.
		goleak.IgnoreAnyFunction("github.com/ipfs/go-log/v2/writer.(*MirrorWriter).logRoutine"),
		// Sleeps for a second at most before it sees that its gossip has ended.
		goleak.IgnoreAnyFunction("github.com/libp2p/go-libp2p-pubsub.(*PubSub).announceRetry"),
	)
}

// anyone takes whoever has the key.
type anyone struct{}

func (anyone) Hello(context.Context) []byte        { return []byte("member") }
func (anyone) Check(_ identity.ID, _ []byte) error { return nil }

// Config is that of a host which takes everybody of the network as a member.
func Config(key identity.Key) p2phost.Config {
	return p2phost.Config{
		Domain: "p2phosttest", Key: key, PSK: [32]byte{1}, Guard: anyone{}, Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Every: time.Second,
	}
}

// Open opens a host, which knows nobody.
func Open(t testing.TB, cfg p2phost.Config) *p2phost.Host {
	t.Helper()
	h, err := p2phost.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}
