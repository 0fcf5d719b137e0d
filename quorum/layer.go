package quorum

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
)

// protocol is what keepers speak on streams: the id of the record, then Raft.
const protocol bus.Protocol = "keepers/1"

// greetFor bounds how long a stream may take to say which record it is about.
const greetFor = 5 * time.Second

// layer gives Raft the domain's streams as connections.
type layer struct {
	streams bus.Streams
	record  string
	self    address
	in      chan net.Conn // never closed
	done    chan struct{} // closed by Close

	mu     sync.Mutex
	closed bool
	served sync.WaitGroup // connections that Raft was handed and has not closed
}

var _ raft.StreamLayer = (*layer)(nil)

func newLayer(streams bus.Streams, self identity.ID, record string) *layer {
	return &layer{streams: streams, record: record, self: address(self), in: make(chan net.Conn), done: make(chan struct{})}
}

// Dial implements raft.StreamLayer.
func (l *layer) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	s, err := l.streams.Stream(ctx, identity.ID(to), protocol)
	if err != nil {
		return nil, err
	}
	_ = s.SetDeadline(time.Now().Add(timeout))
	if _, err := io.WriteString(s, l.record); err != nil {
		_ = s.Reset()
		return nil, err
	}
	_ = s.SetDeadline(time.Time{})
	return &conn{Stream: s, self: l.self, ended: make(chan struct{})}, nil
}

// take hands a stream over and returns when it is not used any more.
func (l *layer) take(ctx context.Context, s bus.Stream) {
	c := &conn{Stream: s, self: l.self, ended: make(chan struct{})}
	defer c.Close()
	h := l.serve(c)
	if h == nil {
		return
	}
	select {
	case l.in <- h:
	case <-l.done:
		_ = h.Close()
		return
	case <-ctx.Done():
		_ = h.Close()
		return
	}
	select {
	case <-c.ended:
	case <-l.done:
	case <-ctx.Done():
	}
}

// handed is a connection from another keeper as Raft has it, which closes it
// when it does no more work for it.
type handed struct {
	*conn
	once   sync.Once
	served func()
}

func (h *handed) Close() error {
	defer h.once.Do(h.served)
	return h.conn.Close()
}

func (l *layer) serve(c *conn) *handed {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.served.Add(1)
	return &handed{conn: c, served: l.served.Done}
}

// wait returns when Raft does no more work for other keepers, after Close. What
// it does for a heartbeat it does beside its own loop, and its disk must be
// there for that.
func (l *layer) wait() { l.served.Wait() }

// greeted reads which record a stream is about.
func greeted(s bus.Stream) (string, error) {
	b := make([]byte, recordLen)
	if err := s.SetDeadline(time.Now().Add(greetFor)); err != nil {
		return "", err
	}
	if _, err := io.ReadFull(s, b); err != nil {
		return "", err
	}
	if err := checkRecord(string(b)); err != nil {
		return "", err
	}
	return string(b), s.SetDeadline(time.Time{})
}

// checkRecord refuses what is no id of a record.
func checkRecord(id string) error {
	if len(id) != recordLen || strings.Trim(id, "0123456789abcdef") != "" {
		return fmt.Errorf("%.64q is no record's id", id)
	}
	return nil
}

// Accept implements net.Listener.
func (l *layer) Accept() (net.Conn, error) {
	select {
	case c := <-l.in:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *layer) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.closed = true
		close(l.done)
	}
	return nil
}

// Addr implements net.Listener.
func (l *layer) Addr() net.Addr { return l.self }

// address is a member as a network address.
type address identity.ID

// Network implements net.Addr.
func (address) Network() string { return "ipdc" }

// String implements net.Addr.
func (a address) String() string { return string(a) }

// conn is a stream as a net.Conn. Both deadlines are one.
type conn struct {
	bus.Stream
	self  address
	once  sync.Once
	ended chan struct{} // closed by Close
}

var _ net.Conn = (*conn)(nil)

func (c *conn) Close() error {
	c.once.Do(func() { close(c.ended) })
	return c.Reset()
}

func (c *conn) LocalAddr() net.Addr                { return c.self }
func (c *conn) RemoteAddr() net.Addr               { return address(c.Peer()) }
func (c *conn) SetReadDeadline(t time.Time) error  { return c.SetDeadline(t) }
func (c *conn) SetWriteDeadline(t time.Time) error { return c.SetDeadline(t) }
