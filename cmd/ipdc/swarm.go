package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/bus/mqtt/broker"
	"github.com/ipdc/ipdc/bus/p2p"
	"github.com/ipdc/ipdc/domain"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/internal/p2phost"
	"github.com/ipdc/ipdc/ipfs/swap"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/quorum"
	"github.com/ipdc/ipdc/sidecar"
	"github.com/ipdc/ipdc/sidecar/fleet"
	"github.com/ipdc/ipdc/sidecar/twin"
	"github.com/ipdc/ipdc/wire"
)

// swarm is the node among the other members of its domain. Host, bus and swap
// lie below switches, as each generation of the domain's secret needs new ones;
// what is above the switches lives as long as the node is in the domain.
type swarm struct {
	*node
	streams *bus.Switch    // over the host
	broker  *broker.Broker // run by this node; nil for none
	post    *bus.Post
	fleet   *fleet.Fleet
	prober  *fleet.Prober
	roster  *domain.Roster
	quorum  *quorum.Quorum
	twin    *twin.Watch
	labels  map[string]string
	offer   atomic.Pointer[offering] // nil until there is a sidecar

	held    jobspec.Bytes // of blocks, when asked; both are advert's
	asked   time.Time
	renewAt time.Time    // company's: when a door is asked next
	lost    atomic.Bool  // a member, since a door was asked
	parted  atomic.Int64 // when a member was last lost, in ns since 1970
	unread  atomic.Value // unread: the domain's file

	mu    sync.Mutex
	is    domain.Membership // as it is on disk
	host  *p2phost.Host     // nil while it is being replaced
	heard map[identity.ID]uint64
	look  chan struct{} // holds one signal: the domain's file may have changed
	met   chan struct{} // holds one signal: a member was heard for the first time
	tries tries

	dialing map[identity.ID]bool // by company
}

// offering is what the sidecar has for tasks.
type offering struct{ *sidecar.Sidecar }

// errMoved says that the node is in another domain than at its start.
var errMoved = errors.New("the node is in another domain")

// openSwarm opens the domain's network unless this node stays by itself.
func (n *node) openSwarm(ctx context.Context) error {
	if n.set.P2PListen == off {
		if n.set.Bus == busMQTT {
			return usagef("--bus mqtt and --p2p-listen off exclude each other: blocks and lists of members go by p2p")
		}
		return nil
	}
	labels, err := fleet.ParseLabels(n.set.Labels)
	if err != nil {
		return usagef("--label: %w", err)
	}
	roster, err := n.member.Roster()
	if err != nil {
		return err
	}
	s := &swarm{
		node: n, streams: bus.NewSwitch(), roster: roster, labels: labels, is: n.member,
		heard: map[identity.ID]uint64{}, look: make(chan struct{}, 1), met: make(chan struct{}, 1), tries: tries{}, dialing: map[identity.ID]bool{},
	}
	s.unread.Store(unread{})
	n.onClose(s.close)
	n.swarm = s
	messages, err := s.messenger(ctx)
	if err != nil {
		return err
	}
	if err := s.makePost(messages); err != nil {
		return err
	}
	if err := s.openQuorum(); err != nil {
		return err
	}
	n.registry.MustRegister(newSwarmGauges(s))
	return s.openHost(ctx, s.readBook(), nil)
}

// makePost makes what is above the messages.
func (s *swarm) makePost(messages bus.Messenger) (err error) {
	if s.post, err = bus.NewPost(messages, s.postConfig()); err != nil {
		return err
	}
	s.fleet = fleet.New(fleet.Config{Post: s.post, Self: s.advert, Connected: s.streams.Peers, Heard: s.meet, Logger: s.log})
	s.twin = twin.New(twin.Config{Key: s.key, Streams: s.streams, Logger: s.log})
	s.prober = fleet.NewProber(s.post, s.exchange)
	bus.Handle(s.post, typeGeneration, s.hear)
	s.streams.Handle(refreshProtocol, s.answerRefresh)
	return nil
}

func (s *swarm) postConfig() bus.Config {
	return bus.Config{
		Domain: bus.DomainID(s.member.ID()), Key: s.key, Roster: s.roster, Certificate: s.proof, Logger: s.log,
		Gone: func(ctx context.Context, id identity.ID) {
			s.lost.Store(true)
			s.parted.Store(time.Now().UnixNano())
			s.fleet.Gone(ctx, id)
		},
	}
}

// openHost opens the network under the secret that is on disk. Nothing is
// fetched before those who were near are connected, or not to be had.
func (s *swarm) openHost(ctx context.Context, book []byte, near map[identity.ID][]string) error {
	m := s.membership()
	h, err := s.openKept(ctx, p2pFile, s.set.P2PListen, p2phost.Config{
		Domain: m.ID().String(), Key: s.key, PSK: m.PSK(), Guard: s, Announce: s.set.P2PAnnounce, LAN: s.set.P2PLAN,
		Book: book, Logger: s.log.With("host", "p2p"),
		Limits: p2phost.Limits{CircuitBytes: int64(s.set.RelayBytes), CircuitTime: s.set.RelayTime.Std()},
	})
	if err != nil {
		return fmt.Errorf("open the domain's network: %w", err)
	}
	b, err := p2p.Open(p2p.Config{Host: h, Vouch: s.postConfig().Vouch, Logger: s.log})
	if err != nil {
		return errors.Join(err, h.Close())
	}
	blocks := swap.New(swap.Config{Host: h, Next: s.exchange.next, Expects: s.expects, Wait: s.exchange.wait, MaxBytes: int64(s.set.InputBytes), Logger: s.log})
	blocks.Serve(s.exchange)
	s.mu.Lock()
	s.host = h
	s.mu.Unlock()
	err = s.streams.Set(b)
	s.rejoin(ctx, h, near)
	return errors.Join(err, s.exchange.set(blocks))
}

const p2pFile = "p2p.json"

// closeHost leaves the network. It returns what the host knew of others.
func (s *swarm) closeHost() (book []byte, err error) {
	s.mu.Lock()
	h := s.host
	s.host = nil
	s.mu.Unlock()
	if h == nil {
		return nil, nil
	}
	book = h.Book()
	return book, errors.Join(s.streams.Set(nil), s.exchange.set(nil), h.Close())
}

func (s *swarm) close() error {
	book, err := s.closeHost()
	if len(book) > 0 {
		err = errors.Join(err, s.writeBook(book))
	}
	return errors.Join(err, s.streams.Close())
}

// run keeps the node among the others until ctx ends, or fails with errMoved.
func (s *swarm) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		err := s.post.Run(ctx)
		if ctx.Err() != nil {
			return nil
		}
		return err
	})
	g.Go(func() error { return s.fleet.Run(ctx) })
	g.Go(func() error { return s.quorum.Run(ctx) })
	g.Go(func() error { return s.twin.Run(ctx) })
	g.Go(func() error { return s.follow(ctx) })
	g.Go(func() error { return s.company(ctx) })
	return g.Wait()
}

func (s *swarm) membership() domain.Membership {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.is
}

func (s *swarm) proof() []byte { return s.membership().Proof() }

// Hello implements p2phost.Guard.
func (s *swarm) Hello(context.Context) []byte { return s.proof() }

// Check implements p2phost.Guard.
func (s *swarm) Check(id identity.ID, hello []byte) error {
	return s.roster.Check(id, hello, time.Now())
}

// current returns the host, nil while it is being replaced.
func (s *swarm) current() *p2phost.Host {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.host
}

// advert is what this node says of itself. It is called by one goroutine.
func (s *swarm) advert(ctx context.Context) wire.Advert {
	a := wire.Advert{Version: version, Arch: runtime.GOARCH, Labels: s.labels, Held: s.counted(ctx)}
	if o := s.offer.Load(); o != nil {
		var started time.Time
		a.Capacity, a.Free, started = o.Offer()
		a.Started, a.Draining, a.Busy, a.Strict = started.Unix(), o.Draining(), o.Busy(), o.Strict()
	}
	if h := s.current(); h != nil {
		a.Addrs = h.Addrs()
		a.Addrs = a.Addrs[:min(len(a.Addrs), 16)]
	}
	return a
}

// counted is what the node holds. A Kubo is not asked each second.
func (s *swarm) counted(ctx context.Context) jobspec.Bytes {
	if time.Since(s.asked) > countEvery {
		ctx, cancel := context.WithTimeout(ctx, stampEvery)
		defer cancel()
		if st, err := s.ipfs.Stat(ctx); err == nil {
			s.held = jobspec.Bytes(st.Bytes)
		}
		s.asked = time.Now()
	}
	return s.held
}

const countEvery = 10 * time.Second

// Peers implements api.Swarm.
func (s *swarm) Peers() []wire.Peer { return s.fleet.Peers() }

// Probe implements api.Swarm.
func (s *swarm) Probe(ctx context.Context) []wire.Probe {
	var ids []identity.ID
	for _, p := range s.fleet.Peers() {
		ids = append(ids, identity.ID(p.ID))
	}
	return s.prober.Probe(ctx, ids)
}

// addrs are where members can be reached, this node first, as a newcomer is told.
func (s *swarm) addrs() []domain.Addr {
	h := s.current()
	if h == nil {
		return nil
	}
	list := reachable(h.Addrs(), s.key.ID())
	for _, m := range s.fleet.Members() {
		list = append(list, reachable(m.Addrs, m.ID)...)
	}
	return list
}
