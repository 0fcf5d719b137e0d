package broker

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/mochi-mqtt/server/v2/listeners"
)

// listener is the server's way to its clients. It bounds the connections, those
// of strangers more than all together, and the time that a stranger has to say
// who he is: each costs up to 80 KiB before that. Unlike the listeners that come
// with the server it ends its connections itself: the server's way to do that
// can wait for itself (mochi-mqtt issue 488).
type listener struct {
	ln  net.Listener
	tls *tls.Config
	max int

	mu        sync.Mutex
	closed    bool
	open      map[*counted]struct{}
	strangers map[string]int // by address
	unknown   int            // sum of strangers
	serving   sync.WaitGroup // one for each connection that was let in; nothing is added once closed
}

var _ listeners.Listener = (*listener)(nil)

func newListener(ln net.Listener, cfg Config) *listener {
	return &listener{
		ln: ln, tls: cfg.TLS, max: cfg.Clients + maxStrangers,
		open: map[*counted]struct{}{}, strangers: map[string]int{},
	}
}

// ID, Address, Protocol and Init are what the server asks of a listener.
func (l *listener) ID() string              { return "ipdc" }
func (l *listener) Address() string         { return l.ln.Addr().String() }
func (l *listener) Protocol() string        { return l.ln.Addr().Network() }
func (l *listener) Init(*slog.Logger) error { return nil }

// acceptPause is before the next try, after one that has failed: the machine may
// have no file descriptor left for a while.
const acceptPause = 100 * time.Millisecond

// Serve gives the server each connection, until the socket is closed; what
// comes while there is no room is closed at once.
func (l *listener) Serve(establish listeners.EstablishFn) {
	for {
		conn, err := l.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(acceptPause)
			continue
		}
		c := &counted{Conn: conn, l: l, stranger: true, forget: func() {}, served: make(chan struct{})}
		c.from, _, _ = net.SplitHostPort(conn.RemoteAddr().String())
		if !l.add(c) {
			_ = conn.Close()
			continue
		}
		// The broker sets deadlines of its own once it has read CONNECT.
		_ = conn.SetDeadline(time.Now().Add(handshakeTime))
		conn = c
		if l.tls != nil {
			conn = tls.Server(c, l.tls)
		}
		go func() {
			defer l.serving.Done()
			defer close(c.served)
			defer func() { c.forget() }()
			_ = establish(l.ID(), conn) // why a client went says nothing about the broker
		}()
	}
}

func (l *listener) add(c *counted) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.open) >= l.max || l.unknown >= maxStrangers || l.strangers[c.from] >= strangersEach {
		return false
	}
	l.open[c] = struct{}{}
	l.strangers[c.from]++
	l.unknown++
	l.serving.Add(1)
	return true
}

// Close is the server's; when it returns no connection is served any more.
func (l *listener) Close(listeners.CloseFn) { _ = l.end() }

// end ends the socket and all connections, and waits for those who serve them.
// Twice is safe.
func (l *listener) end() error {
	l.mu.Lock()
	l.closed = true
	left := slices.Collect(maps.Keys(l.open))
	l.mu.Unlock()
	err := l.ln.Close()
	for _, c := range left {
		_ = c.Close()
	}
	l.serving.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// counted gives its room back.
type counted struct {
	net.Conn
	l        *listener
	from     string
	stranger bool          // guarded by l.mu
	forget   func()        // called when the server has done with it; whoever serves it may set it
	served   chan struct{} // closed then
}

// countedOf returns what a connection, with TLS or without, is counted by.
func countedOf(conn net.Conn) *counted {
	if secured, ok := conn.(*tls.Conn); ok {
		conn = secured.NetConn()
	}
	return conn.(*counted)
}

// admit says that a connection is a member's.
func admit(conn net.Conn) {
	c := countedOf(conn)
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	c.known()
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
