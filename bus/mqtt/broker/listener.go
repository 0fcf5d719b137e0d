package broker

import (
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"
)

// limited bounds the connections, those of strangers more than all together,
// and the time that a stranger has to say who he is: each costs up to 80 KiB
// before that.
type limited struct {
	net.Listener
	tls *tls.Config
	max int

	mu        sync.Mutex
	closed    bool
	open      map[*counted]struct{}
	strangers map[string]int // by address
	unknown   int            // sum of strangers
}

func newLimited(ln net.Listener, cfg Config) *limited {
	return &limited{
		Listener: ln, tls: cfg.TLS, max: cfg.Clients + maxStrangers,
		open: map[*counted]struct{}{}, strangers: map[string]int{},
	}
}

// Accept returns the next connection; what comes while there is no room is
// closed at once.
func (l *limited) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &counted{Conn: conn, l: l, stranger: true}
		c.from, _, _ = net.SplitHostPort(conn.RemoteAddr().String())
		if !l.add(c) {
			_ = conn.Close()
			continue
		}
		// The broker sets deadlines of its own once it has read CONNECT.
		_ = conn.SetDeadline(time.Now().Add(handshakeTime))
		if l.tls != nil {
			return tls.Server(c, l.tls), nil
		}
		return c, nil
	}
}

func (l *limited) add(c *counted) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.open) >= l.max || l.unknown >= maxStrangers || l.strangers[c.from] >= strangersEach {
		return false
	}
	l.open[c] = struct{}{}
	l.strangers[c.from]++
	l.unknown++
	return true
}

// closeAll ends the listener and all connections.
func (l *limited) closeAll() error {
	l.mu.Lock()
	l.closed = true
	left := make([]*counted, 0, len(l.open))
	for c := range l.open {
		left = append(left, c)
	}
	l.mu.Unlock()
	err := l.Listener.Close()
	for _, c := range left {
		_ = c.Close()
	}
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// counted gives its room back.
type counted struct {
	net.Conn
	l        *limited
	from     string
	stranger bool // guarded by l.mu
}

// admit says that a connection, with TLS or without, is a member's.
func admit(conn net.Conn) {
	if secured, ok := conn.(*tls.Conn); ok {
		conn = secured.NetConn()
	}
	if c, ok := conn.(*counted); ok {
		c.l.mu.Lock()
		defer c.l.mu.Unlock()
		c.known()
	}
}

// known takes c from the strangers.
func (c *counted) known() {
	if !c.stranger {
		return
	}
	c.stranger = false
	c.l.unknown--
	if c.l.strangers[c.from]--; c.l.strangers[c.from] == 0 {
		delete(c.l.strangers, c.from)
	}
}

// Close closes the connection; twice is safe.
func (c *counted) Close() error {
	c.l.mu.Lock()
	delete(c.l.open, c)
	c.known()
	c.l.mu.Unlock()
	return c.Conn.Close()
}
