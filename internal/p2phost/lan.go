package p2phost

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/discovery/mdns"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// callers is how many that called on the LAN are dialled at once; more are
// dropped, and call again.
const callers = 8

// lan dials who calls by mDNS under the domain's name. Anybody on the LAN can
// call: what is dialled must be on the LAN too, and then shows its
// certificate as everybody does.
type lan struct {
	host *Host
	busy atomic.Int32
}

func (h *Host) listenLAN() error {
	s := mdns.NewMdnsService(h.inner, "_ipdc-"+h.cfg.Domain+"._udp", &lan{host: h})
	if err := s.Start(); err != nil {
		return fmt.Errorf("announce on the local network: %w", err)
	}
	h.lan = s
	return nil
}

// HandlePeerFound implements mdns.Notifee.
func (l *lan) HandlePeerFound(info peer.AddrInfo) {
	defer l.busy.Add(-1)
	if l.busy.Add(1) > callers {
		return
	}
	info.Addrs = slices.DeleteFunc(info.Addrs, func(a ma.Multiaddr) bool {
		return checkTCP(a.String()) != nil || manet.IsPublicAddr(a)
	})
	if len(info.Addrs) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	defer l.host.book.allow(info.ID)()
	if err := l.host.inner.Connect(ctx, info); err != nil {
		l.host.log.Debug("caller on the local network not reached", "peer", info.ID, "err", err)
	}
}
