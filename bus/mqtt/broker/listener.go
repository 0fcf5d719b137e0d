package broker

import (
	"crypto/tls"
	"net"
	"sync"
	"time"
)

// limited bounds the connections, known and unknown ones together, and the
// time that a stranger has to say who he is.
type limited struct {
	net.Listener
	tls  *tls.Config
	room chan struct{}

	mu   sync.Mutex
	open map[net.Conn]struct{}
}

// Accept returns the next connection; what comes while there is no room is
// closed at once.
func (l *limited) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.room <- struct{}{}:
		default:
			_ = conn.Close()
			continue
		}
		// The broker sets deadlines of its own once it has read CONNECT.
		_ = conn.SetDeadline(time.Now().Add(handshakeTime))
		counted := &counted{Conn: conn, l: l}
		l.mu.Lock()
		l.open[counted] = struct{}{}
		l.mu.Unlock()
		if l.tls != nil {
			return tls.Server(counted, l.tls), nil
		}
		return counted, nil
	}
}

// closeAll ends what the broker does not know as a client yet.
func (l *limited) closeAll() error {
	l.mu.Lock()
	left := make([]net.Conn, 0, len(l.open))
	for conn := range l.open {
		left = append(left, conn)
	}
	l.mu.Unlock()
	for _, conn := range left {
		_ = conn.Close()
	}
	return nil
}

// counted gives its room back.
type counted struct {
	net.Conn
	l    *limited
	once sync.Once
}

func (c *counted) Close() error {
	c.once.Do(func() {
		c.l.mu.Lock()
		delete(c.l.open, c)
		c.l.mu.Unlock()
		<-c.l.room
	})
	return c.Conn.Close()
}
