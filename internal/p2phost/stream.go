package p2phost

import (
	"context"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// Libp2p returns the host for protocols over it, such as bitswap. For each
// stream that is opened or answered by what it returns, the guard is asked again
// with the certificate that the peer showed: one that was revoked or has expired
// meanwhile opens none. Identify and ping, which libp2p answers itself, end with
// the connection, see Recheck.
func (h *Host) Libp2p() host.Host { return guarded{h.inner, h} }

type guarded struct {
	host.Host
	h *Host
}

// NewStream implements host.Host. A member that is away is dialled by the
// addresses that it signed last.
func (g guarded) NewStream(ctx context.Context, p peer.ID, ids ...protocol.ID) (network.Stream, error) {
	g.h.book.tellAddrs(p)
	s, err := g.Host.NewStream(ctx, p, ids...)
	if err != nil {
		return nil, err
	}
	if err := g.h.admits(p); err != nil {
		s.Reset()
		return nil, err
	}
	return s, nil
}

// SetStreamHandler implements host.Host.
func (g guarded) SetStreamHandler(id protocol.ID, handle network.StreamHandler) {
	g.Host.SetStreamHandler(id, g.only(id, handle))
}

// SetStreamHandlerMatch implements host.Host.
func (g guarded) SetStreamHandlerMatch(id protocol.ID, match func(protocol.ID) bool, handle network.StreamHandler) {
	g.Host.SetStreamHandlerMatch(id, match, g.only(id, handle))
}

// only lets members in, and each of them as often as turns allows.
func (g guarded) only(id protocol.ID, handle network.StreamHandler) network.StreamHandler {
	handle = g.h.turns.in(string(g.h.Protocol("")), id, handle)
	return func(s network.Stream) {
		if err := g.h.admits(s.Conn().RemotePeer()); err != nil {
			g.h.log.Info("stream refused", "peer", s.Conn().RemotePeer(), "err", err)
			s.Reset()
			return
		}
		handle(s)
	}
}
