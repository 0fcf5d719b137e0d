package p2phost

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// errCircuit ends a circuit that has had its part.
var errCircuit = errors.New("the circuit has carried what one may carry")

// metered is the host for the relay. Circuits through it end after so many bytes
// or so much time, and those at their ends make a new one. libp2p's own limit
// would be told to the ends, which then open no streams over it.
type metered struct {
	host.Host
	bytes int64
	time  time.Duration
}

// SetStreamHandler implements host.Host.
func (m metered) SetStreamHandler(id protocol.ID, handle network.StreamHandler) {
	m.Host.SetStreamHandler(id, func(s network.Stream) {
		c := &circuit{Stream: s, end: time.Now().Add(m.time)}
		c.left.Store(m.bytes)
		if err := s.SetDeadline(c.end); err != nil {
			s.Reset()
			return
		}
		handle(c)
	})
}

// circuit is the stream of who asked for one: all that is relayed is read from
// it or written to it.
type circuit struct {
	network.Stream
	left atomic.Int64
	end  time.Time
}

// Read implements network.Stream.
func (c *circuit) Read(b []byte) (int, error) { return c.count(c.Stream.Read(b)) }

// Write implements network.Stream.
func (c *circuit) Write(b []byte) (int, error) { return c.count(c.Stream.Write(b)) }

func (c *circuit) count(n int, err error) (int, error) {
	if c.left.Add(-int64(n)) < 0 && err == nil {
		err = errCircuit
	}
	return n, err
}

// SetDeadline implements network.Stream.
func (c *circuit) SetDeadline(t time.Time) error { return c.Stream.SetDeadline(c.atMost(t)) }

// SetReadDeadline implements network.Stream.
func (c *circuit) SetReadDeadline(t time.Time) error { return c.Stream.SetReadDeadline(c.atMost(t)) }

// SetWriteDeadline implements network.Stream.
func (c *circuit) SetWriteDeadline(t time.Time) error { return c.Stream.SetWriteDeadline(c.atMost(t)) }

func (c *circuit) atMost(t time.Time) time.Time {
	if t.IsZero() || t.After(c.end) {
		return c.end
	}
	return t
}
