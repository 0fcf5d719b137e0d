package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

var errSpent = errors.New("the job has moved all the bytes that it may")

// outward is a connection to the outside. It counts, ends when nothing moves,
// when the proxy is closed, and when the job's bytes are used up.
type outward struct {
	net.Conn
	p    *Proxy
	idle *time.Timer
	stop func() bool
}

func (p *Proxy) outward(c net.Conn) net.Conn {
	return &outward{
		Conn: c, p: p,
		idle: time.AfterFunc(p.cfg.Idle, func() { _ = c.Close() }),
		stop: context.AfterFunc(p.ctx, func() { _ = c.Close() }),
	}
}

func (c *outward) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	return n, c.moved(n, &c.p.in, err)
}

func (c *outward) Write(b []byte) (int, error) {
	if c.p.spent() {
		return 0, errSpent
	}
	n, err := c.Conn.Write(b)
	return n, c.moved(n, &c.p.out, err)
}

func (c *outward) moved(n int, counter *atomic.Int64, err error) error {
	counter.Add(int64(n))
	if n > 0 {
		c.idle.Reset(c.p.cfg.Idle)
	}
	if c.p.spent() {
		return errSpent
	}
	return err
}

func (p *Proxy) spent() bool { return p.in.Load()+p.out.Load() >= int64(p.cfg.Bytes) }

func (c *outward) Close() error {
	c.idle.Stop()
	c.stop()
	return c.Conn.Close()
}

// CloseWrite says that nothing more is sent.
func (c *outward) CloseWrite() error { return closeWrite(c.Conn) }

// join copies both ways until both sides have said all, or one of them fails.
// from is what is read from client.
func join(client net.Conn, from io.Reader, server net.Conn) {
	var wg sync.WaitGroup
	pipe := func(to net.Conn, from io.Reader) {
		if _, err := io.Copy(to, from); err != nil || closeWrite(to) != nil {
			_ = client.Close()
			_ = server.Close()
		}
	}
	wg.Go(func() { pipe(server, from) })
	wg.Go(func() { pipe(client, server) })
	wg.Wait()
	_ = client.Close()
	_ = server.Close()
}
