package p2phost

import (
	"context"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/ipdc/ipdc/identity"
)

// Bounds of strangers.
const (
	TransientConns   = transientConns
	TransientInbound = transientInbound
)

// Manager is what counts the connections of a host.
func Manager(l Limits) (network.ResourceManager, error) { return l.withDefaults().manager() }

// AcceptWithin sets how long a handshake may take, for hosts that are opened
// during the test.
func AcceptWithin(t *testing.T, d time.Duration) {
	old := acceptTimeout
	acceptTimeout = d
	t.Cleanup(func() { acceptTimeout = old })
}

// NoLoopback takes loopback for a network like any other.
func NoLoopback(t *testing.T) {
	old := isLoopback
	isLoopback = func(ma.Multiaddr) bool { return false }
	t.Cleanup(func() { isLoopback = old })
}

// Forget makes the host know nothing of a member that it is connected with.
func (h *Host) Forget(id identity.ID) {
	if p, err := peer.Decode(string(id)); err == nil {
		h.book.forget(p)
	}
}

// FillRelays forgets who relays and who refused, looks for relays once, and says
// how many there are. Nobody else looks on a host with Config.Announce.
func (h *Host) FillRelays(ctx context.Context) int {
	h.relays.mu.Lock()
	clear(h.relays.held)
	clear(h.relays.shunned)
	h.relays.mu.Unlock()
	h.relays.fill(ctx)
	h.relays.mu.Lock()
	defer h.relays.mu.Unlock()
	return len(h.relays.held)
}

// EndReservations makes the time of all reservations be over.
func (h *Host) EndReservations() {
	h.relays.mu.Lock()
	defer h.relays.mu.Unlock()
	for _, one := range h.relays.held {
		one.renew, one.end = time.Time{}, time.Time{}
	}
}
