package p2phost

import (
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/ipdc/ipdc/identity"
)

// Peer is a connected member.
type Peer struct {
	ID      identity.ID
	Addrs   []string      // of its connections
	Latency time.Duration // of the last ping; 0: not measured yet
	Relayed bool          // by way of another member only
	Since   time.Time     // of the oldest connection
}

// Peers returns the members that are connected now.
func (h *Host) Peers() []Peer {
	var list []Peer
	for _, p := range h.inner.Network().Peers() {
		conns := h.inner.Network().ConnsToPeer(p)
		if len(conns) == 0 {
			continue
		}
		one := Peer{ID: name(p), Latency: h.inner.Peerstore().LatencyEWMA(p), Relayed: true, Since: time.Now()}
		for _, c := range conns {
			one.Addrs = append(one.Addrs, c.RemoteMultiaddr().String())
			one.Relayed = one.Relayed && relayed(c)
			if t := c.Stat().Opened; t.Before(one.Since) {
				one.Since = t
			}
		}
		list = append(list, one)
	}
	return list
}

func name(p peer.ID) identity.ID { return identity.ID(p.String()) }

func relayed(c network.Conn) bool {
	_, err := c.RemoteMultiaddr().ValueForProtocol(ma.P_CIRCUIT)
	return err == nil
}
