// Package broker is the embedded MQTT broker of a domain, for sites without
// one of their own.
//
//	b, err := broker.Open(ctx, broker.Config{Domain: domain, Roster: roster})
//	defer b.Close()
//	// members dial "mqtt://" + b.Addr() with mqtt.SignedPassword
//
// Invariants: only members connect, each under its own peer id; each publishes
// under its own name only and reads its own inbox, announcements and losses.
// Only MQTT 3.1.1 is spoken, so that nothing of MQTT 5 (user properties, topic
// aliases, shared subscriptions) has to be bounded.
package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
)

// Config is what a broker needs. Its limits are those of one site.
type Config struct {
	Listen   string       // "" means 127.0.0.1:0; elsewhere than on loopback only with TLS
	TLS      *tls.Config  // nil: none
	Insecure bool         // allows to listen elsewhere without TLS
	Domain   bus.DomainID // required
	Roster   bus.Roster   // required: who may connect
	Clients  int          // connections at once; 0 means 1024
	Queue    int          // messages that wait for one client; 0 means 1024
	Logger   *slog.Logger // nil: none
	Now      func() time.Time
}

// Limits that are not configured.
const (
	maxPacket     = 256 << 10
	sessionExpiry = time.Hour // of clients that ask for a session; ours do not
	maxKeepalive  = 120       // s
	handshakeTime = 10 * time.Second
)

// Broker runs until it is closed.
type Broker struct {
	server *mochi.Server
	ln     *limited
	guard  *guard
	close  sync.Once
	err    error
}

// Stats are counts since Open.
type Stats struct {
	Connected int64 // now
	Refused   int64 // connections: not a member, another name, another protocol
	Denied    int64 // topics that a member may not use
	Dropped   int64 // messages, for want of room in a client's queue
}

// Open listens.
func Open(ctx context.Context, cfg Config) (*Broker, error) {
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	if cfg.Clients <= 0 {
		cfg.Clients = 1024
	}
	if cfg.Queue <= 0 {
		cfg.Queue = 1024
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if _, err := bus.ParseDomainID(string(cfg.Domain)); err != nil {
		return nil, fmt.Errorf("mqtt broker: %w", err)
	}
	if cfg.Roster == nil {
		return nil, errors.New("mqtt broker: a roster is required")
	}
	ln, err := listen(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("mqtt broker: %w", err)
	}
	b := &Broker{ln: ln, guard: newGuard(cfg)}
	b.server = mochi.New(&mochi.Options{
		Capabilities:           capabilities(cfg),
		Logger:                 slog.New(slog.DiscardHandler), // it logs packets, and whatever strangers send
		SysTopicResendInterval: 3600,
	})
	err = b.server.AddHook(b.guard, nil)
	if err == nil {
		err = b.server.AddListener(listeners.NewNet("ipdc", ln))
	}
	if err == nil {
		err = b.server.Serve()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("mqtt broker: %w", err), b.Close())
	}
	return b, nil
}

func capabilities(cfg Config) *mochi.Capabilities {
	c := mochi.NewDefaultServerCapabilities()
	c.MaximumClients = int64(cfg.Clients)
	c.MaximumClientWritesPending = int32(min(cfg.Queue, 1<<15))
	c.MaximumInflight = uint16(min(cfg.Queue, 1<<15))
	c.ReceiveMaximum = 256
	c.MaximumSessionExpiryInterval = uint32(sessionExpiry / time.Second)
	c.MaximumMessageExpiryInterval = int64(bus.MaxLifetime / time.Second)
	c.MaximumPacketSize = maxPacket
	c.MaximumQos = 1
	c.TopicAliasMaximum = 0
	c.SharedSubAvailable = 0
	c.SubIDAvailable = 0
	c.MinimumProtocolVersion = 4
	return c
}

// Addr returns host:port.
func (b *Broker) Addr() string { return b.ln.Addr().String() }

// Disconnect ends the connection of a member, as when it was revoked.
func (b *Broker) Disconnect(id identity.ID) {
	if cl, ok := b.server.Clients.Get(string(id)); ok {
		cl.Stop(errors.New("revoked"))
	}
}

// Stats returns the counts.
func (b *Broker) Stats() Stats {
	info := b.server.Info
	return Stats{
		Connected: atomic.LoadInt64(&info.ClientsConnected),
		Refused:   b.guard.refused.Load(),
		Denied:    b.guard.denied.Load(),
		Dropped:   atomic.LoadInt64(&info.MessagesDropped) + atomic.LoadInt64(&info.InflightDropped),
	}
}

// Close ends all connections. Closing twice is safe.
func (b *Broker) Close() error {
	b.close.Do(func() { b.err = errors.Join(b.server.Close(), b.ln.closeAll()) })
	return b.err
}

// listen opens the socket, with TLS where that is configured.
func listen(ctx context.Context, cfg Config) (*limited, error) {
	host, _, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return nil, err
	}
	ip := net.ParseIP(host)
	if local := host == "localhost" || ip != nil && ip.IsLoopback(); !local && cfg.TLS == nil && !cfg.Insecure {
		return nil, fmt.Errorf("%s can be reached from other machines and needs TLS; \"insecure\" allows it without", cfg.Listen)
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return nil, err
	}
	return &limited{Listener: ln, tls: cfg.TLS, room: make(chan struct{}, cfg.Clients+64), open: map[net.Conn]struct{}{}}, nil
}
