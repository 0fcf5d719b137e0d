package p2phost_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/proto"

	"github.com/ipdc/ipdc/internal/p2phost"
)

// A reservation that is over is told nobody, and its relay is not asked again
// at once when it refuses; another takes its place.
func TestRelayThatRefuses(t *testing.T) {
	p2phost.NoLoopback(t)
	c := newClub(t)
	first, second, third := open(t, c.config(t)), open(t, c.config(t)), open(t, c.config(t))
	h := open(t, c.config(t))
	through := func(r *p2phost.Host) func() bool {
		return func() bool {
			return strings.Contains(fmt.Sprint(h.Addrs()), "/p2p/"+string(r.ID())+"/p2p-circuit")
		}
	}
	for _, r := range []*p2phost.Host{first, second} {
		if err := h.Connect(t.Context(), r.ID(), r.Listen()); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the node is reachable by way of it", through(r)) // the control
	}
	refuse := func(s network.Stream) { s.Reset() }
	first.Libp2p().SetStreamHandler(proto.ProtoIDv2Hop, refuse)
	second.Libp2p().SetStreamHandler(proto.ProtoIDv2Hop, refuse)
	h.EndReservations()
	if through(first)() || through(second)() {
		t.Error("addresses are told that lead nowhere")
	}
	if err := h.Connect(t.Context(), third.ID(), third.Listen()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another relay is used", through(third))
	if through(first)() || through(second)() {
		t.Error("relays that refuse are named still")
	}
}

// One look goes on until there are relays enough or nobody is left: refusals are
// no reason to wait for the next one.
func TestRelayBehindRefusals(t *testing.T) {
	p2phost.NoLoopback(t)
	c := newClub(t)
	cfg := c.config(t)
	cfg.Announce = []string{"/ip4/127.0.0.1/tcp/9"} // so that it looks only when told to
	h := open(t, cfg)
	var all []*p2phost.Host
	for range 6 {
		r := open(t, c.config(t))
		if err := h.Connect(t.Context(), r.ID(), r.Listen()); err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	for _, r := range all {
		eventually(t, "what a member speaks is known", func() bool {
			known, err := h.Libp2p().Peerstore().SupportsProtocols(r.Libp2p().ID(), proto.ProtoIDv2Hop)
			return err == nil && len(known) > 0
		})
	}
	if got := h.FillRelays(t.Context()); got != 2 { // the control
		t.Fatalf("among members that do not refuse there are %d relays, want 2", got)
	}
	for _, r := range all[1:] {
		r.Libp2p().SetStreamHandler(proto.ProtoIDv2Hop, func(s network.Stream) { s.Reset() })
	}
	for i := range 20 { // the order of members is any
		if got := h.FillRelays(t.Context()); got != 1 {
			t.Fatalf("look %d found %d relays, want the one that does not refuse", i, got)
		}
	}
}
