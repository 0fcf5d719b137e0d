package p2phost

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/proto"
	relayv2 "github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// relayResources bounds what members may relay through this node; metered bounds
// each circuit.
var relayResources = relayv2.Resources{
	ReservationTTL: time.Hour, MaxReservations: 64, MaxCircuits: 8, BufferSize: 8 << 10,
	MaxReservationsPerIP: connsPerAddress, MaxReservationsPerASN: 64,
}

// serveRelay lets members reach each other through this node, nobody else.
func (h *Host) serveRelay() (*relayv2.Relay, error) {
	through := metered{h.Libp2p(), h.cfg.Limits.CircuitBytes, h.cfg.Limits.CircuitTime}
	return relayv2.New(through, relayv2.WithResources(relayResources), relayv2.WithInfiniteLimits(), relayv2.WithACL(membersOnly{h}))
}

type membersOnly struct{ h *Host }

// AllowReserve implements relayv2.ACLFilter.
func (m membersOnly) AllowReserve(p peer.ID, _ ma.Multiaddr) bool { return m.h.admits(p) == nil }

// AllowConnect implements relayv2.ACLFilter.
func (m membersOnly) AllowConnect(src peer.ID, _ ma.Multiaddr, dest peer.ID) bool {
	return m.h.admits(src) == nil && m.h.admits(dest) == nil
}

const (
	wantRelays   = 2                // that a node is reachable by at a time
	maxRelayAddr = 4                // addresses of one relay that are told
	reserveEvery = 30 * time.Second // between two looks
	shunnedFor   = 5 * time.Minute  // after a refusal, so that others are asked
)

// relays keeps reservations at members that this node could reach itself, as
// nobody knows whether others can reach this node: a NAT tells nothing. Only
// a node with Config.Announce does without.
type relays struct {
	host    *Host
	mu      sync.Mutex
	held    map[peer.ID]*reservation
	shunned map[peer.ID]time.Time // until when, because it refused
	kick    chan struct{}
}

type reservation struct {
	renew, end time.Time
	addrs      []ma.Multiaddr // by which others reach us
}

func newRelays(h *Host) *relays {
	return &relays{host: h, held: map[peer.ID]*reservation{}, shunned: map[peer.ID]time.Time{}, kick: make(chan struct{}, 1)}
}

// tidy drops what is over. The lock is held.
func (r *relays) tidy(now time.Time) {
	maps.DeleteFunc(r.held, func(_ peer.ID, one *reservation) bool { return now.After(one.end) })
	maps.DeleteFunc(r.shunned, func(_ peer.ID, until time.Time) bool { return now.After(until) })
}

// addrs returns the addresses of this node by way of its relays.
func (r *relays) addrs() []ma.Multiaddr {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tidy(time.Now())
	var list []ma.Multiaddr
	for _, one := range r.held {
		list = append(list, one.addrs...)
	}
	return list
}

func (r *relays) lost(p peer.ID) {
	r.mu.Lock()
	delete(r.held, p)
	delete(r.shunned, p)
	r.mu.Unlock()
	r.wake()
}

// wake makes keep look now.
func (r *relays) wake() {
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

func (r *relays) keep(ctx context.Context) {
	if len(r.host.cfg.Announce) > 0 {
		return
	}
	tick := time.NewTicker(reserveEvery)
	defer tick.Stop()
	for {
		r.fill(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-r.kick:
		}
	}
}

// fill renews reservations and makes new ones until there are enough, or nobody
// is left to ask. It asks each member once: in place of those that refuse, others
// are asked at once, as nothing wakes keep for them.
func (r *relays) fill(ctx context.Context) {
	asked := map[peer.ID]bool{}
	for ctx.Err() == nil {
		list := r.candidates(asked)
		if len(list) == 0 {
			return
		}
		for _, c := range list {
			asked[c.RemotePeer()] = true
			r.ask(ctx, c)
		}
	}
}

// ask asks the far end of c for a reservation.
func (r *relays) ask(ctx context.Context, c network.Conn) {
	p := c.RemotePeer()
	rctx, cancel := context.WithTimeout(network.WithNoDial(ctx, "reserve"), exchangeTimeout)
	got, err := client.Reserve(rctx, r.host.Libp2p(), peer.AddrInfo{ID: p})
	cancel()
	if err != nil {
		r.host.log.Debug("relay refuses", "peer", p, "err", err)
		r.mu.Lock()
		r.shunned[p] = time.Now().Add(shunnedFor)
		r.mu.Unlock()
		return
	}
	r.mu.Lock()
	_, renewed := r.held[p]
	r.held[p] = &reservation{renew: time.Now().Add(time.Until(got.Expiration) / 2), end: got.Expiration, addrs: r.by(c)}
	r.mu.Unlock()
	if !renewed {
		r.host.log.Info("reachable by a relay", "relay", p)
	}
}

// candidates returns connections to relays that are to be asked now: those
// whose reservation is half over, and new ones up to what is wanted; none of
// members that were asked.
func (r *relays) candidates(asked map[peer.ID]bool) (list []network.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	r.tidy(now)
	want := wantRelays - len(r.held)
	for _, p := range r.host.inner.Network().Peers() {
		held, shunned := r.held[p], r.shunned[p]
		if asked[p] || now.Before(shunned) || held != nil && now.Before(held.renew) || held == nil && want <= 0 {
			continue
		}
		conns := r.host.inner.Network().ConnsToPeer(p) // once: it changes at any time
		i := slices.IndexFunc(conns, relaying)
		known, err := r.host.inner.Peerstore().SupportsProtocols(p, proto.ProtoIDv2Hop)
		if i < 0 || err != nil || len(known) == 0 {
			continue
		}
		if held == nil {
			want--
		}
		list = append(list, conns[i])
	}
	return list
}

// relaying says whether others may come by the far end of c as we did: not
// when it is on this machine, where there is nothing to get around.
func relaying(c network.Conn) bool {
	return c.Stat().Direction == network.DirOutbound && !relayed(c) && !isLoopback(c.RemoteMultiaddr())
}

// isLoopback is a variable for tests on one machine.
var isLoopback = manet.IsIPLoopback

// by returns our addresses through the relay at the far end of c: by the
// address that served us, and those that it announces.
func (r *relays) by(c network.Conn) []ma.Multiaddr {
	known := append([]ma.Multiaddr{c.RemoteMultiaddr()}, r.host.inner.Peerstore().Addrs(c.RemotePeer())...)
	var list []ma.Multiaddr
	for _, a := range known {
		if checkTCP(a.String()) != nil || isLoopback(a) {
			continue
		}
		through := a.Encapsulate(ma.StringCast("/p2p/" + c.RemotePeer().String() + "/p2p-circuit"))
		if !slices.ContainsFunc(list, through.Equal) && len(list) < maxRelayAddr {
			list = append(list, through)
		}
	}
	return list
}
