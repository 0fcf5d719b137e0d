package p2phost

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/multiformats/go-multistream"

	"github.com/ipdc/ipdc/identity"
)

// doorTimeout bounds one conversation at a door. What is spoken there bounds
// itself more tightly.
const doorTimeout = time.Minute

// Answer makes handle answer the streams that others open for a protocol of
// this domain, each in a goroutine of its own. from is who opened it, as the
// connection has proved. ctx ends what is under way. It is meant for doors:
// each stream has a minute.
func (h *Host) Answer(ctx context.Context, name string, handle func(ctx context.Context, from identity.ID, s io.ReadWriteCloser) error) {
	h.Libp2p().SetStreamHandler(h.Protocol(name), func(s network.Stream) {
		ctx, cancel := context.WithTimeout(ctx, doorTimeout)
		defer cancel()
		defer context.AfterFunc(ctx, func() { s.Reset() })()
		if err := handle(ctx, identityOf(s), s); err != nil {
			h.log.Info("stream ended", "protocol", name, "peer", identityOf(s), "err", err)
		}
	})
}

// answersIn is how long after it listens a door may take to answer: a stranger
// that was let in may come before the note of where the door is lies on the disk.
const answersIn = 10 * time.Second

// Ask connects to a peer by addresses that a person or an invitation gave, and
// opens a stream for a protocol of this domain. The stream has a minute.
func (h *Host) Ask(ctx context.Context, id identity.ID, addrs []string, name string) (io.ReadWriteCloser, error) {
	if err := h.Connect(ctx, id, addrs); err != nil {
		return nil, err
	}
	p, err := peer.Decode(string(id))
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(answersIn); ; {
		s, err := h.Libp2p().NewStream(network.WithNoDial(ctx, name), p, h.Protocol(name))
		if err == nil {
			return s, s.SetDeadline(time.Now().Add(doorTimeout))
		}
		if !errors.Is(err, multistream.ErrNotSupported[protocol.ID]{}) || time.Now().After(end) {
			return nil, fmt.Errorf("ask %s: %w", id, err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("ask %s: %w", id, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func identityOf(s network.Stream) identity.ID { return name(s.Conn().RemotePeer()) }
