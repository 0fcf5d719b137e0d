package p2p

import (
	"context"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/internal/p2phost"
)

// messageProtocol carries one frame per stream: a kind and a payload.
const messageProtocol = "message/1"

// The kinds of frames. kindKept plus its place among bus.Topics is an
// announcement that the sender made before.
const (
	kindMessage = 0
	kindAsk     = 1
	kindKept    = 16
)

// Send implements bus.Messenger. A nil error says that the message is on its
// way over a connection.
func (b *Bus) Send(ctx context.Context, to identity.ID, payload []byte) error {
	if err := bus.CheckSend(b.host.ID(), to, payload); err != nil {
		return err
	}
	if err := b.open(ctx); err != nil {
		return err
	}
	p, err := peer.Decode(string(to))
	if err != nil {
		return fmt.Errorf("%w: %w", bus.ErrPeer, err)
	}
	if err := b.send(ctx, p, kindMessage, payload); err != nil {
		return b.why(ctx, fmt.Errorf("%w: %s: %w", bus.ErrPeer, to, err))
	}
	return nil
}

func (b *Bus) send(ctx context.Context, p peer.ID, kind byte, payload []byte) error {
	s, err := b.host.Libp2p().NewStream(ctx, p, b.host.Protocol(messageProtocol))
	if err != nil {
		return err
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(linger)
	}
	err = s.SetDeadline(deadline)
	if err == nil {
		err = p2phost.WriteFrame(s, append([]byte{kind}, payload...))
	}
	if err == nil {
		err = s.Close()
	}
	if err != nil {
		_ = s.Reset()
	}
	return err
}

// takeMessage reads the one frame of a stream.
func (b *Bus) takeMessage(s network.Stream) {
	_ = s.SetDeadline(time.Now().Add(linger))
	frame, err := p2phost.ReadFrame(s, 1+bus.MaxMessage)
	if err != nil || len(frame) == 0 {
		b.log.Debug("no message", "peer", s.Conn().RemotePeer(), "err", err)
		_ = s.Reset()
		return
	}
	_ = s.Close()
	b.take(s.Conn().RemotePeer(), frame[0], frame[1:])
}

func (b *Bus) take(p peer.ID, kind byte, payload []byte) {
	d := bus.Delivery{From: identity.ID(p.String()), Payload: payload}
	place := int(kind) - kindKept
	switch {
	case kind == kindAsk:
		b.tellKept(p)
		return
	case len(payload) == 0:
		return
	case place >= 0 && place < len(bus.Topics()) && bus.Topics()[place].Kept():
		d.Topic, d.Kept = bus.Topics()[place], true
	case kind != kindMessage:
		return // of a newer version
	}
	b.put(d)
}

// tellKept sends p our own last announcements.
func (b *Bus) tellKept(p peer.ID) {
	for i, t := range bus.Topics() {
		b.mu.Lock()
		payload := b.kept[t]
		b.mu.Unlock()
		if payload == nil {
			continue
		}
		b.goes(func() {
			ctx, cancel := context.WithTimeout(network.WithNoDial(b.ctx, "bus"), linger)
			defer cancel()
			if err := b.send(ctx, p, byte(kindKept+i), payload); err != nil {
				b.log.Debug("tell what is kept", "peer", p, "err", err)
			}
		})
	}
}
