package p2p

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
)

// taken is the byte by which a handler says that it is there: libp2p may open
// a stream before it knows whether the other side speaks its protocol.
const taken = 1

// name is a protocol of the bus among those of the host.
func (b *Bus) name(p bus.Protocol) protocol.ID { return b.host.Protocol("bus/" + string(p)) }

// Handle implements bus.Streams.
func (b *Bus) Handle(p bus.Protocol, h func(context.Context, bus.Stream)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.inbox.Closed() {
		return
	}
	if h == nil {
		delete(b.handled, p)
		b.host.Libp2p().RemoveStreamHandler(b.name(p))
		return
	}
	b.handled[p] = true
	b.host.Libp2p().SetStreamHandler(b.name(p), func(s network.Stream) { b.handle(s, h) })
}

// handle runs a handler in libp2p's goroutine; Close waits for it.
func (b *Bus) handle(ns network.Stream, h func(context.Context, bus.Stream)) {
	s := b.track(ns)
	if s == nil {
		_ = ns.Reset()
		return
	}
	done := make(chan struct{})
	ok := b.goes(func() { <-done })
	defer close(done)
	defer s.Close()
	if !ok {
		return
	}
	_ = s.SetDeadline(time.Now().Add(linger))
	if _, err := s.Write([]byte{taken}); err != nil {
		return
	}
	_ = s.SetDeadline(time.Time{})
	h(b.ctx, s)
}

// Stream implements bus.Streams.
func (b *Bus) Stream(ctx context.Context, to identity.ID, p bus.Protocol) (bus.Stream, error) {
	if err := b.open(ctx); err != nil {
		return nil, err
	}
	id, err := peer.Decode(string(to))
	if err != nil || to == b.host.ID() {
		return nil, fmt.Errorf("%w: %.80q", bus.ErrPeer, to)
	}
	hosts := b.host.Libp2p().Network()
	ns, err := b.host.Libp2p().NewStream(ctx, id, b.name(p))
	if err == nil {
		err = answered(ctx, ns)
	}
	if err != nil {
		kind := bus.ErrPeer
		if hosts.Connectedness(id) == network.Connected {
			kind = bus.ErrProtocol
		}
		return nil, b.why(ctx, fmt.Errorf("%w: %s to %s: %w", kind, p, to, err))
	}
	s := b.track(ns)
	if s == nil {
		_ = ns.Reset()
		return nil, bus.ErrClosed
	}
	return s, nil
}

// answered waits for the other side's handler.
func answered(ctx context.Context, s network.Stream) error {
	end := time.Now().Add(linger)
	if t, ok := ctx.Deadline(); ok && t.Before(end) {
		end = t
	}
	stop := context.AfterFunc(ctx, func() { _ = s.Reset() })
	defer stop()
	err := s.SetDeadline(end)
	if err == nil {
		_, err = io.ReadFull(s, make([]byte, 1))
	}
	if err == nil {
		err = s.SetDeadline(time.Time{})
	}
	if err != nil {
		_ = s.Reset()
	}
	return err
}

// stream is a libp2p stream that Close of its bus can find.
type stream struct {
	network.Stream
	b *Bus
}

// track returns nil after Close.
func (b *Bus) track(ns network.Stream) *stream {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.inbox.Closed() {
		return nil
	}
	s := &stream{ns, b}
	b.streams[s] = struct{}{}
	return s
}

// Peer implements bus.Stream.
func (s *stream) Peer() identity.ID { return identity.ID(s.Conn().RemotePeer().String()) }

// Close implements bus.Stream.
func (s *stream) Close() error {
	s.b.forget(s)
	return s.Stream.Close()
}

// Reset implements bus.Stream.
func (s *stream) Reset() error {
	s.b.forget(s)
	return s.Stream.Reset()
}

func (b *Bus) forget(s *stream) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.streams, s)
}
