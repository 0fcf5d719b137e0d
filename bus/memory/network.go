// Package memory is a bus inside one process, for tests and simulations. It
// loses, duplicates, delays and reorders messages by a script, falls into
// partitions and can be stopped, all without a clock or a random source of its
// own: a test decides.
//
//	nw := memory.New(memory.Config{Faults: memory.Noise(1, 0.1, 0.1, 0)})
//	a, err := nw.Join(idA)
//	b, err := nw.Join(idB)
//	nw.Partition([]identity.ID{idA}) // a alone, all others on the other side
//	nw.Cut(idA, idB)                 // from a to b nothing goes; the other way it does
//	nw.Heal()
//
// Invariant: without faults each message arrives exactly once and in order.
package memory

import (
	"bytes"
	"fmt"
	"sync"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
)

// Config is what a network does.
type Config struct {
	// Queue is how many messages wait for a member that does not receive; 0
	// means 256.
	Queue int
	// Faults says what becomes of each message; nil: it arrives at once.
	Faults Faults
}

// Network joins members. The zero value is not usable; see New.
type Network struct {
	cfg Config

	mu      sync.Mutex
	down    bool
	members map[identity.ID]*Bus
	kept    map[keptKey][]byte
	side    map[identity.ID]int // of a partition; 0 for all who are not named
	cut     map[way]bool
	streams map[*stream]struct{}
}

type keptKey struct {
	topic bus.Topic
	from  identity.ID
}

// way is one direction between two members.
type way struct{ from, to identity.ID }

// New returns a network without members.
func New(cfg Config) *Network {
	return &Network{
		cfg:     cfg,
		members: map[identity.ID]*Bus{},
		kept:    map[keptKey][]byte{},
		side:    map[identity.ID]int{},
		cut:     map[way]bool{},
		streams: map[*stream]struct{}{},
	}
}

// Join adds a member and gives it what is kept. A second one of the same id
// takes the place of the first, which is closed.
func (n *Network) Join(id identity.ID) (*Bus, error) {
	if _, err := identity.ParseID(string(id)); err != nil {
		return nil, fmt.Errorf("join memory bus: %w", err)
	}
	n.mu.Lock()
	old := n.members[id]
	n.mu.Unlock()
	if old != nil {
		_ = old.Close()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	b := newBus(n, id)
	n.members[id] = b
	for k, payload := range n.kept {
		if k.from != id && n.reaches(k.from, id) {
			b.inbox.Put(bus.Delivery{Topic: k.topic, From: k.from, Payload: bytes.Clone(payload), Kept: true})
		}
	}
	return b, nil
}

// Partition puts each group on a side of its own, and all others together on
// one more. Streams across are reset.
func (n *Network) Partition(groups ...[]identity.ID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.side)
	clear(n.cut)
	for i, group := range groups {
		for _, id := range group {
			n.side[id] = i + 1
		}
	}
	n.resetStreams(func(s *stream) bool { return !n.joined(s.self, s.peer) })
}

// Cut loses all messages from one member to another, and none the other way.
// Streams between the two, which need both ways, are reset.
func (n *Network) Cut(from, to identity.ID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[way{from, to}] = true
	n.resetStreams(func(s *stream) bool { return !n.joined(s.self, s.peer) })
}

// Heal ends partitions and cuts. What was lost stays lost.
func (n *Network) Heal() { n.Partition() }

// Stop makes the medium fail, as a broker that ends: calls get
// bus.ErrUnavailable and what it kept is gone.
func (n *Network) Stop() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down = true
	clear(n.kept)
	n.resetStreams(func(*stream) bool { return true })
}

// Start ends Stop; the members are joined as before.
func (n *Network) Start() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down = false
}

// resetStreams resets those that are chosen. n.mu is held.
func (n *Network) resetStreams(chosen func(*stream) bool) {
	for s := range n.streams {
		if chosen(s) {
			s.reset()
			delete(n.streams, s)
		}
	}
}

// reaches reports whether a message gets from one to the other. n.mu is held.
func (n *Network) reaches(from, to identity.ID) bool {
	return !n.down && n.side[from] == n.side[to] && !n.cut[way{from, to}]
}

// joined reports whether a stream between the two would hold. n.mu is held.
func (n *Network) joined(a, b identity.ID) bool { return n.reaches(a, b) && n.reaches(b, a) }

// send hands m to its receiver as the script says. n.mu is held.
func (n *Network) send(m Message) {
	to, ok := n.members[m.To]
	if !ok || !n.reaches(m.From, m.To) {
		return
	}
	copies := []time.Duration{0}
	if n.cfg.Faults != nil {
		copies = n.cfg.Faults(m)
	}
	for _, delay := range copies {
		d := bus.Delivery{Topic: m.Topic, From: m.From, Payload: bytes.Clone(m.Payload)}
		if delay <= 0 {
			to.inbox.Put(d)
			continue
		}
		time.AfterFunc(delay, func() { to.inbox.Put(d) })
	}
}
