// Package bus is the contract of how the members of a domain talk: short
// messages over a Messenger, connections over Streams. Adapters: p2p, mqtt and
// memory (for tests); bus/bustest is the suite that each of them passes.
// Whoever is above layer 1 uses neither: a [Post] seals and opens what a
// Messenger carries.
//
//	m, err := memory.New(memory.Config{}).Join(id)
//	go m.Receive(ctx, func(d bus.Delivery) { ... })
//	err = m.Announce(ctx, bus.TopicNodes, payload)
//	err = m.Send(ctx, peer, payload)
//	err = m.Close()
//
// Nothing that a Messenger delivers is to be trusted: neither who sent it, nor
// that it is new, whole, in order or for this domain. An envelope proves that.
package bus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/ipdc/ipdc/identity"
)

// MaxMessage is the size of the largest payload, in bytes. Longer lists travel
// by CID.
const MaxMessage = 32 << 10

// Messenger carries short messages.
//
// Call order: any, at once after the adapter's constructor. Announce, Send and
// Close may be called from any goroutine at any time, also from within handle.
// Receive is called once at a time; a second one beside it gets ErrReceiving.
//
// Delivery: unordered, at least once or not at all. A nil error says that the
// medium took the message, not that anybody got it. Who needs an answer asks
// again: adapters reconnect, but never send a message of their own accord a
// second time after an error. What arrives while nobody receives is kept in a
// bounded queue or lost.
//
// Errors: ErrSize, ErrTopic and ErrPeer are the caller's mistakes. ErrUnavailable
// says that the medium cannot be reached now, or has no room: try again later.
// ErrClosed ends everything. Otherwise the error of ctx.
type Messenger interface {
	// Announce sends payload to all other members that listen now. Members
	// that come later may get the last announcement of each member on a topic
	// that is Kept.
	Announce(ctx context.Context, topic Topic, payload []byte) error
	// Send sends payload to one other member. A peer that is unknown or away
	// is no error where the medium cannot tell.
	Send(ctx context.Context, to identity.ID, payload []byte) error
	// Receive calls handle for each message, one call at a time, until ctx
	// ends, which gives its error, or Close, which gives ErrClosed. handle
	// returns soon; while it does not, messages are lost. Receive may be
	// called again after it has returned.
	Receive(ctx context.Context, handle func(Delivery)) error
	// Close leaves the medium and waits for the adapter's goroutines, though
	// not for a handle that is running, as that may be the caller. Closing
	// twice is safe.
	Close() error
}

// Delivery is what arrived.
type Delivery struct {
	Topic   Topic       // "" for what was sent to this member alone
	From    identity.ID // a hint by the medium, "" where it gives none
	Payload []byte      // at most MaxMessage bytes; the receiver may keep and change it
	Kept    bool        // an older announcement, given to a member that came later
	// Gone says that the medium has lost its connection to From. Payload is
	// empty. It is a hint too: a lease decides, not this.
	Gone bool
}

// Topic is a subject of announcements, one of Topics.
type Topic string

// The topics.
const (
	TopicNodes  Topic = "nodes"  // what a member is and has; Kept
	TopicOffers Topic = "offers" // work that asks for bids
	TopicRoster Topic = "roster" // who was revoked; Kept
)

// Topics lists all topics.
func Topics() []Topic { return []Topic{TopicNodes, TopicOffers, TopicRoster} }

// Kept reports whether a medium that can should give the last announcement of
// each member to those that come later.
func (t Topic) Kept() bool { return t == TopicNodes || t == TopicRoster }

// ParseTopic returns the topic s, or ErrTopic.
func ParseTopic(s string) (Topic, error) {
	if t := Topic(s); slices.Contains(Topics(), t) {
		return t, nil
	}
	return "", fmt.Errorf("%w: %.40q is none of %v", ErrTopic, s, Topics())
}

// Streams makes connections between members. Both ends are authenticated: who
// is at the other end of a Stream is known, unlike the sender of a Delivery.
//
// Stream, Handle and Peers may be called from any goroutine at any time.
type Streams interface {
	// Stream connects to a member. The error is ErrPeer when it cannot be
	// reached and ErrProtocol when it has no handler for p. The caller closes
	// or resets what it gets.
	Stream(ctx context.Context, to identity.ID, p Protocol) (Stream, error)
	// Handle makes h take the streams that others open for p, each in a
	// goroutine of its own; nil takes the handler away. A stream is closed
	// when h returns. ctx ends with the adapter's Close, which resets all
	// streams and waits for their handlers.
	Handle(p Protocol, h func(ctx context.Context, s Stream))
	// Peers returns the members that are connected now, in any order.
	Peers() []Peer
}

// Protocol names what is spoken on a stream: "report/1". Adapters put the
// domain before it.
type Protocol string

// Stream is a connection in order and without loss. One goroutine may read
// while another writes. After Close, Reset or a deadline, calls return errors.
type Stream interface {
	io.ReadWriteCloser
	// CloseWrite ends what the other side reads, with io.EOF. Reading goes on.
	CloseWrite() error
	// Reset drops the connection; the other side gets an error, not io.EOF.
	Reset() error
	// SetDeadline bounds reads and writes; the zero time takes it away. A
	// stream without one may wait forever for a peer that says nothing.
	SetDeadline(t time.Time) error
	// Peer returns who is at the other end, authenticated.
	Peer() identity.ID
}

// Peer is a connected member.
type Peer struct {
	ID      identity.ID
	Addrs   []string      // multiaddrs of its connections, or what the medium has instead
	Latency time.Duration // 0: not measured
	Relayed bool          // by way of another member only
}

// Bus is a medium with both.
type Bus interface {
	Messenger
	Streams
}

// Errors of the contract.
var (
	ErrSize        = errors.New("a message has 1 to 32768 bytes; longer content travels by CID")
	ErrTopic       = errors.New("no such topic")
	ErrPeer        = errors.New("peer cannot be reached")
	ErrProtocol    = errors.New("peer does not speak this protocol")
	ErrReceiving   = errors.New("somebody else receives on this bus already")
	ErrUnavailable = errors.New("bus cannot be reached now")
	ErrClosed      = errors.New("bus is closed")
)

// CheckAnnounce returns the error that every adapter's Announce gives for its
// arguments, or nil.
func CheckAnnounce(topic Topic, payload []byte) error {
	if _, err := ParseTopic(string(topic)); err != nil {
		return err
	}
	return checkSize(payload)
}

// CheckSend returns the error that every adapter's Send gives for its
// arguments, or nil. self is the sender.
func CheckSend(self, to identity.ID, payload []byte) error {
	if _, err := identity.ParseID(string(to)); err != nil {
		return fmt.Errorf("%w: %w", ErrPeer, err)
	}
	if to == self {
		return fmt.Errorf("%w: %s is this node itself", ErrPeer, to)
	}
	return checkSize(payload)
}

func checkSize(payload []byte) error {
	if n := len(payload); n == 0 || n > MaxMessage {
		return fmt.Errorf("%w: got %d", ErrSize, n)
	}
	return nil
}
