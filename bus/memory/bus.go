package memory

import (
	"bytes"
	"context"
	"fmt"
	"sync"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
)

// Bus is one member's end of a network.
type Bus struct {
	nw    *Network
	self  identity.ID
	inbox *bus.Inbox

	handlers map[bus.Protocol]func(context.Context, bus.Stream) // guarded by nw.mu
	running  sync.WaitGroup                                     // of handlers; added to under nw.mu
}

var _ bus.Bus = (*Bus)(nil)

func newBus(n *Network, id identity.ID) *Bus {
	return &Bus{nw: n, self: id, inbox: bus.NewInbox(n.cfg.Queue), handlers: map[bus.Protocol]func(context.Context, bus.Stream){}}
}

// Announce sends payload to all others.
func (b *Bus) Announce(ctx context.Context, topic bus.Topic, payload []byte) error {
	if err := bus.CheckAnnounce(topic, payload); err != nil {
		return err
	}
	return b.transmit(ctx, func() {
		if topic.Kept() {
			b.nw.kept[keptKey{topic, b.self}] = bytes.Clone(payload)
		}
		for id := range b.nw.members {
			if id != b.self {
				b.nw.send(Message{From: b.self, To: id, Topic: topic, Payload: payload})
			}
		}
	})
}

// Send sends payload to one other.
func (b *Bus) Send(ctx context.Context, to identity.ID, payload []byte) error {
	if err := bus.CheckSend(b.self, to, payload); err != nil {
		return err
	}
	return b.transmit(ctx, func() { b.nw.send(Message{From: b.self, To: to, Payload: payload}) })
}

// transmit calls f with the network locked, when there is one.
func (b *Bus) transmit(ctx context.Context, f func()) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b.nw.mu.Lock()
	defer b.nw.mu.Unlock()
	if b.inbox.Closed() {
		return bus.ErrClosed
	}
	if b.nw.down {
		return fmt.Errorf("%w: the network is stopped", bus.ErrUnavailable)
	}
	f()
	return nil
}

// Receive calls handle for each message.
func (b *Bus) Receive(ctx context.Context, handle func(bus.Delivery)) error {
	return b.inbox.Receive(ctx, handle)
}

// Close leaves the network: what it kept of this member is gone, and the others
// are told.
func (b *Bus) Close() error {
	b.leave(true)
	b.running.Wait()
	return nil
}

// Kill is a Close as by kill -9: what the network keeps of this member stays.
func (b *Bus) Kill() {
	b.leave(false)
	b.running.Wait()
}

func (b *Bus) leave(orderly bool) {
	b.nw.mu.Lock()
	defer b.nw.mu.Unlock()
	if b.inbox.Closed() {
		return
	}
	b.inbox.Close()
	b.nw.resetStreams(func(s *stream) bool { return s.self == b.self || s.peer == b.self })
	for k := range b.nw.kept {
		if orderly && k.from == b.self {
			delete(b.nw.kept, k)
		}
	}
	delete(b.nw.members, b.self)
	for id, other := range b.nw.members {
		if b.nw.reaches(b.self, id) {
			other.inbox.Put(bus.Delivery{From: b.self, Gone: true})
		}
	}
}

// Peers returns the members on this side of the network.
func (b *Bus) Peers() []bus.Peer {
	b.nw.mu.Lock()
	defer b.nw.mu.Unlock()
	var peers []bus.Peer
	for id := range b.nw.members {
		if id != b.self && !b.inbox.Closed() && b.nw.reaches(b.self, id) {
			peers = append(peers, bus.Peer{ID: id})
		}
	}
	return peers
}
