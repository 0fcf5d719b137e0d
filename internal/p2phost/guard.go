package p2phost

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/sec"
	tptu "github.com/libp2p/go-libp2p/p2p/net/upgrader"
	"github.com/libp2p/go-libp2p/p2p/security/noise"

	"github.com/ipdc/ipdc/identity"
)

// Guard decides who is a member. Its methods are called concurrently.
type Guard interface {
	// Hello returns what proves our membership to others, at most 16 KiB. It
	// is no secret and no session is bound to it: the connection proves who
	// shows it.
	Hello(ctx context.Context) []byte
	// Check returns why peer, whose key is proved, is not a member by what it
	// showed; nil admits it. It is asked when a peer connects, for each stream
	// that it or we open, and again by Host.Recheck, always with what the peer
	// showed last.
	Check(peer identity.ID, hello []byte) error
}

const (
	maxHello     = 16 << 10
	helloTimeout = 10 * time.Second
)

// secured is Noise, and after it the exchange of certificates, before anything
// else is said. The one who connected shows its own first: a stranger learns
// nothing from who was called.
type secured struct {
	host  *Host
	noise *noise.Transport
}

// securityID is spoken inside the private network only, so that it tells the
// domain to those who know its key already: one key used for two domains, or
// for a door, connects nobody.
func (h *Host) securityID() string {
	if h.cfg.Door {
		return string(h.Protocol("door/1"))
	}
	return string(h.Protocol("member/1"))
}

func (h *Host) security(id protocol.ID, key crypto.PrivKey, muxers []tptu.StreamMuxer) (*secured, error) {
	t, err := noise.New(id, key, muxers)
	return &secured{host: h, noise: t}, err
}

// ID implements sec.SecureTransport.
func (s *secured) ID() protocol.ID { return s.noise.ID() }

// SecureInbound implements sec.SecureTransport.
func (s *secured) SecureInbound(ctx context.Context, insecure net.Conn, p peer.ID) (sec.SecureConn, error) {
	c, err := s.noise.SecureInbound(ctx, insecure, p)
	return s.guard(ctx, c, err, s.check, s.show)
}

// SecureOutbound implements sec.SecureTransport.
func (s *secured) SecureOutbound(ctx context.Context, insecure net.Conn, p peer.ID) (sec.SecureConn, error) {
	c, err := s.noise.SecureOutbound(ctx, insecure, p)
	return s.guard(ctx, c, err, s.show, s.check)
}

// guard takes the two steps of the exchange within the time for it.
func (s *secured) guard(ctx context.Context, c sec.SecureConn, err error, steps ...func(context.Context, sec.SecureConn) error) (sec.SecureConn, error) {
	if err != nil {
		return nil, err
	}
	id := name(c.RemotePeer())
	if _, err := identity.ParseID(string(id)); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if s.host.cfg.Door {
		return c, nil
	}
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	err = c.SetDeadline(time.Now().Add(helloTimeout))
	for _, step := range steps {
		if err == nil {
			err = step(ctx, c)
		}
	}
	if err == nil {
		err = c.SetDeadline(time.Time{})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("exchange certificates with %s: %w", id, err), c.Close())
	}
	return c, nil
}

func (s *secured) show(ctx context.Context, c sec.SecureConn) error {
	return WriteFrame(c, s.host.cfg.Guard.Hello(ctx))
}

func (s *secured) check(_ context.Context, c sec.SecureConn) error {
	hello, err := ReadFrame(c, maxHello)
	if err != nil {
		return err
	}
	p := c.RemotePeer()
	if err := s.host.cfg.Guard.Check(name(p), hello); err != nil {
		s.host.log.Warn("peer is no member", "peer", name(p), "addr", c.RemoteAddr(), "err", err)
		return err
	}
	s.host.book.admit(p, hello)
	return nil
}

// Recheck asks the guard about all members again, and drops those that it no
// longer admits. It is called each minute, and by the caller when the roster
// has changed.
func (h *Host) Recheck() {
	for p, hello := range h.book.hellos() {
		err := h.cfg.Guard.Check(name(p), hello)
		if err == nil {
			continue
		}
		h.log.Info("peer is no longer a member", "peer", name(p), "err", err)
		h.book.forget(p)
		h.inner.Network().ClosePeer(p)
	}
}

// admits says why p is not admitted now, with the certificate it showed last.
func (h *Host) admits(p peer.ID) error {
	if h.cfg.Door {
		return nil
	}
	hello, ok := h.book.hello(p)
	if !ok {
		return fmt.Errorf("%s has shown no certificate", p)
	}
	return h.cfg.Guard.Check(name(p), hello)
}
