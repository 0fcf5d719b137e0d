// Package broker is the embedded MQTT broker of a domain, for sites without
// one of their own.
//
//	b, err := broker.Open(ctx, broker.Config{Domain: domain, Roster: roster})
//	defer b.Close()
//	// members dial "mqtt://" + b.Addr() with mqtt.SignedPassword
//
// Invariants: only members connect, each under its own peer id, and stay for as
// long as they are members; each publishes under its own name only and reads
// its own inbox, announcements and losses. A client that does not read costs
// the others nothing, and is sent no more than its queue. No session is kept.
// Only MQTT 3.1.1 is spoken, so that nothing of MQTT 5 (user properties, topic
// aliases, shared subscriptions) has to be bounded.
package broker

import (
	"cmp"
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

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/bus/mqtt/internal/layout"
)

// Config is what a broker needs. Its limits are those of one site.
type Config struct {
	Listen   string       // "" means 127.0.0.1:0; elsewhere than on loopback only with TLS
	TLS      *tls.Config  // nil: none
	Insecure bool         // allows to listen elsewhere without TLS
	Domain   bus.DomainID // required
	Roster   bus.Roster   // required: who may connect
	Clients  int          // connections at once; 0 means 1024
	Queue    int          // messages of up to 32 KiB that wait for one client; 0 means 1024
	Logger   *slog.Logger // nil: none
	Now      func() time.Time
}

func (c Config) withDefaults() Config {
	c.Listen = cmp.Or(c.Listen, "127.0.0.1:0")
	if c.Clients <= 0 {
		c.Clients = 1024
	}
	if c.Queue <= 0 {
		c.Queue = 1024
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Limits that are not configured.
const (
	maxKeepalive  = 120 // s
	handshakeTime = 10 * time.Second
	checkEvery    = time.Minute // whether who is connected is a member still
	maxStrangers  = 64          // connections that have not said who they are
	strangersEach = 16          // of them, of one address
)

// Broker runs until it is closed.
type Broker struct {
	server *mochi.Server
	ln     *listener
	guard  *guard
	close  sync.Once
	err    error
	done   chan struct{}  // closed by Close
	checks sync.WaitGroup // the goroutine that looks for who is no member any more
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
	cfg = cfg.withDefaults()
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
	b := &Broker{ln: ln, guard: newGuard(cfg), done: make(chan struct{})}
	b.server = mochi.New(&mochi.Options{
		Capabilities:           capabilities(cfg),
		Logger:                 slog.New(slog.DiscardHandler), // it logs packets, and whatever strangers send
		SysTopicResendInterval: 3600,
	})
	err = b.server.AddHook(b.guard, nil)
	if err == nil {
		err = b.server.AddListener(ln)
	}
	if err == nil {
		err = b.server.Serve()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("mqtt broker: %w", err), b.Close())
	}
	b.checks.Go(b.watch)
	return b, nil
}

// watch looks for certificates that expire.
func (b *Broker) watch() {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		select {
		case <-b.done:
			return
		case <-tick.C:
			b.guard.recheck()
		}
	}
}

func capabilities(cfg Config) *mochi.Capabilities {
	c := mochi.NewDefaultServerCapabilities()
	c.MaximumClients = int64(cfg.Clients)
	c.MaximumClientWritesPending = int32(min(cfg.Queue, 1<<15))
	c.MaximumInflight = uint16(min(cfg.Queue, 1<<15))
	c.ReceiveMaximum = 256
	c.MaximumSessionExpiryInterval = 0
	c.MaximumMessageExpiryInterval = int64(bus.MaxLifetime / time.Second)
	c.MaximumPacketSize = layout.MaxPacket + 1 // with the first byte of its header
	c.MaximumQos = 1
	c.TopicAliasMaximum = 0
	c.SharedSubAvailable = 0
	c.SubIDAvailable = 0
	c.MinimumProtocolVersion = 4
	return c
}

// Addr returns host:port.
func (b *Broker) Addr() string { return b.ln.Address() }

// Recheck ends the connections of those who are no members any more. It is
// for whoever changes the roster; the broker looks by itself at each message,
// and every minute.
func (b *Broker) Recheck() { b.guard.recheck() }

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
	b.close.Do(func() {
		close(b.done)
		b.err = b.ln.end() // also where the server does not know of it yet
		b.err = errors.Join(b.err, b.server.Close())
		b.checks.Wait()
	})
	return b.err
}

// listen opens the socket, with TLS where that is configured.
func listen(ctx context.Context, cfg Config) (*listener, error) {
	host, _, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return nil, err
	}
	ip := net.ParseIP(host)
	if local := host == "localhost" || ip != nil && ip.IsLoopback(); !local && cfg.TLS == nil && !cfg.Insecure {
		return nil, fmt.Errorf("%s can be reached from other machines and needs TLS: give it a certificate (broker-cert, broker-key), or listen on 127.0.0.1", cfg.Listen)
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return nil, err
	}
	return newListener(ln, cfg), nil
}
