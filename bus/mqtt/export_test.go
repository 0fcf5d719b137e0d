package mqtt

import (
	"errors"
	"net"
	"time"
)

// Cut breaks the connection without a goodbye, and returns when c knows.
func (c *Client) Cut() {
	c.mu.Lock()
	s := c.session
	c.mu.Unlock()
	if s == nil {
		return
	}
	s.cut(errors.New("cut by the test"))
	for now := s; now == s; time.Sleep(time.Millisecond) {
		c.mu.Lock()
		now = c.session
		c.mu.Unlock()
	}
}

// Gauge returns conn with the check of packets.
func Gauge(conn net.Conn, limit int) net.Conn { return &gauge{Conn: conn, max: limit, filters: 3} }

// Backoff is how long a client waits before it connects again.
func Backoff(first time.Duration, lost, vain int) time.Duration { return backoff(first, lost, vain) }
