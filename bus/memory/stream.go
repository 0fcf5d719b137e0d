package memory

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
)

// Handle makes h take streams for p.
func (b *Bus) Handle(p bus.Protocol, h func(context.Context, bus.Stream)) {
	b.nw.mu.Lock()
	defer b.nw.mu.Unlock()
	if h == nil {
		delete(b.handlers, p)
		return
	}
	b.handlers[p] = h
}

// Stream connects to a member.
func (b *Bus) Stream(ctx context.Context, to identity.ID, p bus.Protocol) (bus.Stream, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b.nw.mu.Lock()
	defer b.nw.mu.Unlock()
	if b.inbox.Closed() {
		return nil, bus.ErrClosed
	}
	peer, ok := b.nw.members[to]
	if !ok || peer == b || !b.nw.joined(b.self, to) {
		return nil, fmt.Errorf("%w: %s", bus.ErrPeer, to)
	}
	handle := peer.handlers[p]
	if handle == nil {
		return nil, fmt.Errorf("%w: %s by %s", bus.ErrProtocol, p, to)
	}
	near, far := newStreams(b.nw, b.self, to)
	b.nw.streams[near], b.nw.streams[far] = struct{}{}, struct{}{}
	handling, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	far.onReset = func() { cancel(bus.ErrClosed) }
	peer.running.Go(func() {
		defer cancel(nil)
		defer far.Close()
		handle(handling, far)
	})
	return near, nil
}

// stream is one end of a connection: a pipe in each direction.
type stream struct {
	nw         *Network
	self, peer identity.ID
	in, out    net.Conn
	dropped    *atomic.Bool // shared by both ends
	onReset    func()
}

// errReset is what both ends of a dropped connection get.
var errReset = errors.New("stream was reset")

func newStreams(n *Network, from, to identity.ID) (near, far *stream) {
	nearIn, farOut := net.Pipe()
	farIn, nearOut := net.Pipe()
	dropped := new(atomic.Bool)
	near = &stream{nw: n, self: from, peer: to, in: nearIn, out: nearOut, dropped: dropped}
	far = &stream{nw: n, self: to, peer: from, in: farIn, out: farOut, dropped: dropped}
	return near, far
}

func (s *stream) Peer() identity.ID { return s.peer }

func (s *stream) Read(p []byte) (int, error)  { return s.mended(s.in.Read(p)) }
func (s *stream) Write(p []byte) (int, error) { return s.mended(s.out.Write(p)) }

// mended tells a dropped connection from one that ended.
func (s *stream) mended(n int, err error) (int, error) {
	if err != nil && s.dropped.Load() {
		err = errReset
	}
	return n, err
}

func (s *stream) SetDeadline(t time.Time) error {
	return errors.Join(s.in.SetReadDeadline(t), s.out.SetWriteDeadline(t))
}

func (s *stream) CloseWrite() error { return s.out.Close() }

func (s *stream) Close() error {
	s.nw.mu.Lock()
	delete(s.nw.streams, s)
	s.nw.mu.Unlock()
	return errors.Join(s.out.Close(), s.in.Close())
}

func (s *stream) Reset() error {
	s.reset()
	return s.Close()
}

// reset drops the connection for both ends.
func (s *stream) reset() {
	s.dropped.Store(true)
	_, _ = s.out.Close(), s.in.Close()
	if s.onReset != nil {
		s.onReset()
	}
}

var _ io.ReadWriteCloser = (*stream)(nil)
