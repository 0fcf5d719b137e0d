package p2p

import (
	"context"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/ipdc/ipdc/internal/p2phost"
)

// Listed returns how many members b believes to be subscribed to a topic.
func (b *Bus) Listed(topic string) int { return len(b.gossip.ListPeers(topic)) }

// Wild is the gossip of this package without its bounds.
func Wild(ctx context.Context, h *p2phost.Host) (*pubsub.PubSub, error) {
	return pubsub.NewGossipSub(ctx, h.Libp2p(), pubsub.WithGossipSubProtocols([]protocol.ID{h.Protocol("gossip/1")}, features))
}
