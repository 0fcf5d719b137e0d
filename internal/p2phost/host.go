// Package p2phost is the one libp2p host of a node: TCP inside a private
// network (pre-shared key), Noise, yamux, and nothing else. Whoever connects
// shows a membership certificate before the first byte of any protocol.
//
//	h, err := p2phost.Open(ctx, p2phost.Config{Domain: id, Key: key, PSK: psk, Guard: membership})
//	err = h.Connect(ctx, member, []string{"/ip4/203.0.113.7/tcp/4101"})
//	h.Libp2p().SetStreamHandler(h.Protocol("report/1"), handle)
//	err = h.Close()
//
// Invariants: without the pre-shared key nothing but noise comes over the wire;
// without a certificate that Guard accepts there is no multiplexer, so no
// stream, no address and no list of protocols either; nobody is dialled but
// whom the caller names, whose certificate was seen, and, where that is
// allowed, who calls on the LAN; no public relay, bootstrap peer or DHT is
// known here.
package p2phost

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/pnet"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/net/upgrader"
	relayv2 "github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	ma "github.com/multiformats/go-multiaddr"
	"go.uber.org/fx"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
)

// Config is what a Host is made of. Domain, Key, PSK and Guard are required.
type Config struct {
	Domain string       // id of the domain, a-z and 2-7; part of every protocol's name
	Key    identity.Key // who this node is
	PSK    [32]byte     // the domain's pre-shared key; zero is refused
	// Guard shows our certificate and checks theirs. Only a Door has none.
	Guard Guard
	// Door makes a host for strangers that have a PSK of its own, to be let in
	// by a protocol above. It learns, relays and remembers nobody.
	Door bool
	// Listen are multiaddrs such as /ip4/0.0.0.0/tcp/4101; port 0 means any
	// free one, to be kept by the caller, see Host.Listen. Default: a free
	// port of all addresses. An empty, non-nil list means none.
	Listen []string
	// Announce replaces the addresses that others are told, where they reach
	// this node by others than its own: /dns4/node.example.org/tcp/4101. A
	// node that has them needs no relay. Default: what it listens on.
	Announce []string
	LAN      bool          // find members on the local network by mDNS
	Book     []byte        // members known from an earlier run, see Host.Book
	Every    time.Duration // between two exchanges of addresses; default 1 minute
	Limits   Limits
	Logger   *slog.Logger // default: no log
}

// Host is a running libp2p host. Its methods may be called concurrently.
type Host struct {
	cfg    Config
	log    *slog.Logger
	inner  host.Host
	since  time.Time
	book   *book
	relays *relays
	turns  *turns
	relay  *relayv2.Relay // nil for a Door
	lan    interface{ Close() error }

	cancel    context.CancelFunc
	running   sync.WaitGroup
	kick      chan struct{} // wakes the loop that keeps members connected
	dialled   atomic.Bool   // all in Config.Book, once
	closeOnce sync.Once
	closeErr  error
}

// Open starts a host. It fails with E_PNET when it would not be private, and
// when a port that Config.Listen names is taken.
func Open(ctx context.Context, cfg Config) (_ *Host, err error) {
	cfg.Every = cmp.Or(cfg.Every, time.Minute)
	cfg.Limits = cfg.Limits.withDefaults()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	forcePrivate()
	h := &Host{cfg: cfg, log: cfg.Logger, since: time.Now(), turns: newTurns(), kick: make(chan struct{}, 1)}
	h.book = newBook(h)
	h.relays = newRelays(h)
	if h.inner, err = h.libp2p(); err != nil {
		return nil, fmt.Errorf("open libp2p host: %w", err)
	}
	if err := h.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open libp2p host: %w", err), h.Close())
	}
	return h, nil
}

// forcePrivate has libp2p refuse what has no pre-shared key, in all of the
// process. It is written once, as hosts that run read it.
var forcePrivate = sync.OnceFunc(func() { pnet.ForcePrivateNetwork = true })

func (c Config) check() error {
	switch {
	case c.Domain == "" || len(c.Domain) > 52 || strings.Trim(c.Domain, "abcdefghijklmnopqrstuvwxyz234567") != "":
		return fmt.Errorf("%.60q is not a domain's id: 1 to 52 characters a-z and 2-7", c.Domain)
	case c.PSK == [32]byte{}:
		return jobspec.Failure{Kind: jobspec.KindPNet, Detail: "no pre-shared key: this node would talk to anybody",
			Hint: "restore the domain's secret from a backup, or join the domain again"}.Error()
	case c.Door == (c.Guard != nil):
		return errors.New("a host has a guard, or is a door")
	}
	for _, text := range append(append([]string{}, c.Listen...), c.Announce...) {
		if err := checkTCP(text); err != nil {
			return err
		}
	}
	return nil
}

func (h *Host) libp2p() (host.Host, error) {
	key, err := crypto.UnmarshalEd25519PrivateKey(h.cfg.Key.PrivateKey())
	if err != nil {
		return nil, err
	}
	manager, err := h.cfg.Limits.manager()
	if err != nil {
		return nil, err
	}
	conns, err := h.cfg.Limits.connections()
	if err != nil {
		return nil, errors.Join(err, manager.Close())
	}
	listen := h.cfg.Listen
	if listen == nil {
		listen = listenAnywhere
	}
	opts := []libp2p.Option{
		libp2p.Identity(key), libp2p.PrivateNetwork(pnet.PSK(h.cfg.PSK[:])),
		libp2p.Transport(tcp.NewTCPTransport), libp2p.Muxer(yamux.ID, h.cfg.Limits.muxer()), libp2p.Security(h.securityID(), h.security),
		libp2p.ListenAddrStrings(listen...), libp2p.AddrsFactory(h.announced),
		libp2p.ConnectionGater(&gate{h}), libp2p.ResourceManager(manager), libp2p.ConnectionManager(conns),
		libp2p.UserAgent("ipdc"), libp2p.ProtocolVersion("ipdc/" + h.cfg.Domain),
		libp2p.DisableMetrics(), libp2p.WithDialTimeout(dialTimeout),
		libp2p.WithFxOption(fx.Supply([]upgrader.Option{upgrader.WithAcceptTimeout(acceptTimeout)})),
	}
	if h.cfg.Door {
		opts = append(opts, libp2p.DisableRelay())
	}
	return libp2p.New(opts...)
}

// start begins what goes on until Close.
func (h *Host) start(ctx context.Context) error {
	if err := h.listening(); err != nil {
		return err
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	h.cancel = cancel
	if h.cfg.Door {
		return nil
	}
	events, err := h.subscribe()
	if err != nil {
		return err
	}
	h.running.Go(func() { h.follow(run, events) })
	if h.relay, err = h.serveRelay(); err != nil {
		return err
	}
	h.Libp2p().SetStreamHandler(h.Protocol(exchangeProtocol), h.answerExchange)
	h.book.load(h.cfg.Book)
	h.running.Go(func() { h.keepConnected(run) })
	h.running.Go(func() { h.keepExchanging(run) })
	h.running.Go(func() { h.relays.keep(run) })
	if h.cfg.LAN {
		return h.listenLAN()
	}
	return nil
}

// Close ends all connections and waits for what the host does by itself. Who
// handles a stream sees it end. Closing twice is safe.
func (h *Host) Close() error {
	h.closeOnce.Do(func() {
		if h.cancel != nil {
			h.cancel()
		}
		if h.lan != nil {
			h.closeErr = h.lan.Close()
		}
		if h.relay != nil {
			h.closeErr = errors.Join(h.closeErr, h.relay.Close())
		}
		h.closeErr = errors.Join(h.closeErr, h.inner.Close())
		h.running.Wait()
	})
	return h.closeErr
}

// ID returns who this node is.
func (h *Host) ID() identity.ID { return h.cfg.Key.ID() }

// Since returns when the host was opened.
func (h *Host) Since() time.Time { return h.since }

// Dialling reports whether members of Config.Book are being dialled for the first
// time.
func (h *Host) Dialling() bool { return !h.dialled.Load() }

// Protocol returns the name of a protocol of this domain.
func (h *Host) Protocol(name string) protocol.ID {
	return protocol.ID("/ipdc/" + h.cfg.Domain + "/" + name)
}

// dialTimeout bounds one try to connect, handshakes included.
const dialTimeout = 15 * time.Second

// Connect connects to a peer whose addresses the caller got from a person or
// an invitation. The peer may be a member that no one here has met. It tries
// at once, also when the last try has just failed.
func (h *Host) Connect(ctx context.Context, id identity.ID, addrs []string) error {
	p, err := peer.Decode(string(id))
	if err != nil {
		return fmt.Errorf("peer id %q: %w", id, err)
	}
	info := peer.AddrInfo{ID: p}
	allowed := []peer.ID{p}
	for _, text := range addrs {
		a, err := ma.NewMultiaddr(text)
		if err != nil {
			return fmt.Errorf("address of %s: %w", id, err)
		}
		info.Addrs = append(info.Addrs, a)
		allowed = append(allowed, relayOf(a)...)
	}
	defer h.book.allow(allowed...)()
	if s, ok := h.inner.Network().(*swarm.Swarm); ok {
		s.Backoff().Clear(p)
	}
	if err := h.inner.Connect(ctx, info); err != nil {
		return fmt.Errorf("connect to %s: %w", id, err)
	}
	return nil
}

// relayOf returns the relay that an address leads through.
func relayOf(a ma.Multiaddr) []peer.ID {
	before, after := ma.SplitFunc(a, func(c ma.Component) bool { return c.Protocol().Code == ma.P_CIRCUIT })
	if after == nil {
		return nil
	}
	info, err := peer.AddrInfoFromP2pAddr(before)
	if err != nil {
		return nil
	}
	return []peer.ID{info.ID}
}
