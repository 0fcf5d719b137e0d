// Package p2p is the bus over libp2p: announcements by gossipsub, messages and
// streams by streams of the node's one host.
//
//	b, err := p2p.Open(p2p.Config{Host: host})
//	err = b.Announce(ctx, bus.TopicNodes, payload)
//	st, err := b.Stream(ctx, peer, "report/1")
//	err = b.Close() // the host stays open
//
// Invariants: only members take part, as the host admits nobody else; there
// are no topics but those of the contract, whatever a member subscribes to; an
// announcement is signed by the one it names, and at most 64 KiB with all
// that gossipsub says around it.
package p2p

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/internal/p2phost"
)

// Config is what a Bus is made of. Host is required, and outlives the Bus.
type Config struct {
	Host *p2phost.Host
	// Vouch says why an announcement is neither received nor passed on to
	// others; bus.Config has it. It is called by several goroutines. Default:
	// all are.
	Vouch  func(d bus.Delivery) error
	Queue  int          // messages that wait for Receive; default 256
	Logger *slog.Logger // default: no log
}

// Bus implements bus.Bus over a host.
type Bus struct {
	host   *p2phost.Host
	vouch  func(d bus.Delivery) error
	log    *slog.Logger
	inbox  *bus.Inbox
	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	gossip  *pubsub.PubSub
	topics  map[bus.Topic]*pubsub.Topic
	watch   *network.NotifyBundle
	running sync.WaitGroup // added to under mu, while the inbox is open

	mu      sync.Mutex
	kept    map[bus.Topic][]byte // our own last announcements
	handled map[bus.Protocol]bool
	streams map[*stream]struct{}
}

var _ bus.Bus = (*Bus)(nil)

const (
	maxGossip    = 64 << 10 // of one message between two hosts
	maxSubscribe = 16       // topics that one message may name
	linger       = 10 * time.Second
)

// Open joins the bus of the host's domain.
func Open(cfg Config) (*Bus, error) {
	b := &Bus{
		host: cfg.Host, vouch: cfg.Vouch, log: cfg.Logger, inbox: bus.NewInbox(cfg.Queue), topics: map[bus.Topic]*pubsub.Topic{},
		kept: map[bus.Topic][]byte{}, handled: map[bus.Protocol]bool{}, streams: map[*stream]struct{}{},
	}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	b.ctx, b.cancel = context.WithCancel(context.Background()) // until Close
	if err := b.join(); err != nil {
		return nil, errors.Join(fmt.Errorf("join the bus: %w", err), b.Close())
	}
	b.host.Libp2p().SetStreamHandler(b.host.Protocol(messageProtocol), b.takeMessage)
	b.follow()
	return b, nil
}

// join subscribes to all topics.
func (b *Bus) join() error {
	var names []string
	for _, t := range bus.Topics() {
		names = append(names, b.topic(t))
	}
	var err error
	b.gossip, err = pubsub.NewGossipSub(b.ctx, b.host.Libp2p(),
		pubsub.WithGossipSubProtocols([]protocol.ID{b.host.Protocol("gossip/1")}, features),
		pubsub.WithSubscriptionFilter(pubsub.WrapLimitSubscriptionFilter(pubsub.NewAllowlistSubscriptionFilter(names...), maxSubscribe)),
		pubsub.WithMessageSignaturePolicy(pubsub.StrictSign), pubsub.WithMaxMessageSize(maxGossip), pubsub.WithMaxControlMessageSize(maxGossip),
		pubsub.WithPeerExchange(false), pubsub.WithFloodPublish(true))
	if err != nil {
		return err
	}
	for _, t := range bus.Topics() {
		if err := b.gossip.RegisterTopicValidator(b.topic(t), b.validator(t)); err != nil {
			return err
		}
		if b.topics[t], err = b.gossip.Join(b.topic(t)); err != nil {
			return err
		}
		sub, err := b.topics[t].Subscribe()
		if err != nil {
			return err
		}
		b.running.Go(func() { b.listen(t, sub) })
	}
	return nil
}

// features are those of gossipsub 1.2; members that we do not know exchange
// addresses by the host's own protocol, with certificates.
func features(f pubsub.GossipSubFeature, _ protocol.ID) bool {
	return f == pubsub.GossipSubFeatureMesh || f == pubsub.GossipSubFeatureIdontwant
}

func (b *Bus) topic(t bus.Topic) string { return string(b.host.Protocol("topic/" + string(t))) }

// validator decides what is received on a topic and passed on to others. Our
// own announcements were checked by whoever made them.
func (b *Bus) validator(t bus.Topic) pubsub.ValidatorEx {
	return func(_ context.Context, via peer.ID, m *pubsub.Message) pubsub.ValidationResult {
		from := identity.ID(m.GetFrom().String())
		if from == b.host.ID() {
			return pubsub.ValidationAccept
		}
		err := bus.CheckAnnounce(t, m.Data)
		if err == nil && b.vouch != nil {
			err = b.vouch(bus.Delivery{Topic: t, From: from, Payload: m.Data})
		}
		if err != nil {
			b.log.Debug("announcement not passed on", "topic", t, "from", from, "peer", via, "err", err)
			return pubsub.ValidationReject
		}
		return pubsub.ValidationAccept
	}
}

func (b *Bus) listen(t bus.Topic, sub *pubsub.Subscription) {
	defer sub.Cancel()
	for {
		m, err := sub.Next(b.ctx)
		if err != nil {
			return
		}
		from := identity.ID(m.GetFrom().String())
		if from == b.host.ID() {
			continue
		}
		// Gossipsub still passes its bytes on.
		b.put(bus.Delivery{Topic: t, From: from, Payload: bytes.Clone(m.Data)})
	}
}

func (b *Bus) put(d bus.Delivery) {
	if !b.inbox.Put(d) {
		b.log.Debug("message dropped: nobody takes them as fast as they come", "from", d.From, "topic", d.Topic)
	}
}

// Announce implements bus.Messenger.
func (b *Bus) Announce(ctx context.Context, topic bus.Topic, payload []byte) error {
	if err := bus.CheckAnnounce(topic, payload); err != nil {
		return err
	}
	if err := b.open(ctx); err != nil {
		return err
	}
	payload = bytes.Clone(payload)
	if topic.Kept() {
		b.mu.Lock()
		b.kept[topic] = payload
		b.mu.Unlock()
	}
	if err := b.topics[topic].Publish(ctx, payload); err != nil {
		return b.why(ctx, fmt.Errorf("%w: %w", bus.ErrUnavailable, err))
	}
	return nil
}

// open says why nothing can be done now.
func (b *Bus) open(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if b.inbox.Closed() {
		return bus.ErrClosed
	}
	return nil
}

// why prefers what the caller did over what came of it.
func (b *Bus) why(ctx context.Context, err error) error {
	if own := b.open(ctx); own != nil {
		return own
	}
	return err
}

// Receive implements bus.Messenger.
func (b *Bus) Receive(ctx context.Context, handle func(bus.Delivery)) error {
	return b.inbox.Receive(ctx, handle)
}

// Close implements bus.Messenger.
func (b *Bus) Close() error {
	b.mu.Lock()
	b.inbox.Close() // nothing is added to running from here on
	open := make([]*stream, 0, len(b.streams))
	for s := range b.streams {
		open = append(open, s)
	}
	for p := range b.handled {
		b.host.Libp2p().RemoveStreamHandler(b.name(p))
	}
	clear(b.handled)
	b.mu.Unlock()
	b.host.Libp2p().RemoveStreamHandler(b.host.Protocol(messageProtocol))
	if b.watch != nil {
		b.host.Libp2p().Network().StopNotify(b.watch)
	}
	for _, s := range open { // first, so that no handler that wakes writes on
		_ = s.Reset()
	}
	b.cancel()
	b.running.Wait()
	return nil
}

// goes runs f until Close waits for it; it reports false when that is over.
func (b *Bus) goes(f func()) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.inbox.Closed() {
		return false
	}
	b.running.Go(f)
	return true
}

// Peers implements bus.Streams.
func (b *Bus) Peers() []bus.Peer {
	if b.inbox.Closed() {
		return nil
	}
	var list []bus.Peer
	for _, p := range b.host.Peers() {
		list = append(list, bus.Peer{ID: p.ID, Addrs: p.Addrs, Latency: p.Latency, Relayed: p.Relayed})
	}
	return list
}

// follow tells losses, and asks each member that comes for what it keeps.
func (b *Bus) follow() {
	b.watch = &network.NotifyBundle{
		ConnectedF: func(_ network.Network, c network.Conn) { b.askKept(c.RemotePeer()) },
		DisconnectedF: func(n network.Network, c network.Conn) {
			if p := c.RemotePeer(); n.Connectedness(p) == network.NotConnected {
				b.put(bus.Delivery{From: identity.ID(p.String()), Gone: true})
			}
		},
	}
	n := b.host.Libp2p().Network()
	n.Notify(b.watch)
	for _, p := range n.Peers() {
		b.askKept(p)
	}
}

func (b *Bus) askKept(p peer.ID) {
	b.goes(func() {
		ctx, cancel := context.WithTimeout(network.WithNoDial(b.ctx, "bus"), linger)
		defer cancel()
		if err := b.send(ctx, p, kindAsk, nil); err != nil {
			b.log.Debug("ask for what a member keeps", "peer", p, "err", err)
		}
	})
}
