package p2phost

import (
	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// gate is the connection gater: whoever asks libp2p for a connection, nobody
// is dialled but members and whom the caller named.
type gate struct{ host *Host }

// InterceptPeerDial implements connmgr.ConnectionGater.
func (g *gate) InterceptPeerDial(p peer.ID) bool { return g.host.book.dialable(p) }

// InterceptAddrDial implements connmgr.ConnectionGater.
func (g *gate) InterceptAddrDial(_ peer.ID, a ma.Multiaddr) bool {
	for _, p := range a.Protocols() {
		switch p.Code {
		case ma.P_IP4, ma.P_IP6, ma.P_DNS, ma.P_DNS4, ma.P_DNS6, ma.P_TCP, ma.P_P2P, ma.P_CIRCUIT:
		default:
			return false
		}
	}
	return true
}

// InterceptAccept implements connmgr.ConnectionGater. The resource manager has
// counted the connection before.
func (g *gate) InterceptAccept(network.ConnMultiaddrs) bool { return true }

// InterceptSecured implements connmgr.ConnectionGater. The guard has asked
// already; this holds too should a transport come that does not pass it.
func (g *gate) InterceptSecured(_ network.Direction, p peer.ID, _ network.ConnMultiaddrs) bool {
	return g.host.admits(p) == nil
}

// InterceptUpgraded implements connmgr.ConnectionGater.
func (g *gate) InterceptUpgraded(network.Conn) (bool, control.DisconnectReason) { return true, 0 }
