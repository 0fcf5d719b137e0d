package proxy

import (
	"net"
	"sync"
)

// limited accepts only as many connections at a time as it has slots; the
// others wait in the kernel's queue.
type limited struct {
	net.Listener
	slots chan struct{}
	done  <-chan struct{}
}

func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.done:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &inward{Conn: c, release: sync.OnceFunc(func() { <-l.slots })}, nil
}

// inward is a connection from the container.
type inward struct {
	net.Conn
	release func()
}

func (c *inward) Close() error {
	c.release()
	return c.Conn.Close()
}

// CloseWrite says that nothing more is sent.
func (c *inward) CloseWrite() error { return closeWrite(c.Conn) }

// closeWrite ends one direction of c, or both where c cannot.
func closeWrite(c net.Conn) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}
