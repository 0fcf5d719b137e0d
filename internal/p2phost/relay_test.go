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
