package testenv

import (
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// Wire is a TCP proxy on loopback that counts the bytes of each direction, so
// that a test knows what went over the wire, whatever programs say of it.
type Wire struct {
	Addr string // host:port that it listens on

	target   atomic.Pointer[string]
	conns    atomic.Int64
	open     atomic.Int64
	to, from atomic.Int64

	held sync.RWMutex // written while nothing passes
	trip atomic.Pointer[trip]

	mu  sync.Mutex
	now map[*net.TCPConn]bool // both ends of each connection
}

// NewWire opens one that lasts as long as the test. It leads nowhere, and ends
// what connects, until LeadTo is called.
func NewWire(t testing.TB) *Wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &Wire{Addr: l.Addr().String(), now: map[*net.TCPConn]bool{}}
	var running sync.WaitGroup
	t.Cleanup(func() { l.Close(); running.Wait() })
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			w.open.Add(1)
			w.conns.Add(1)
			running.Go(func() {
				defer w.open.Add(-1)
				w.carry(c)
			})
		}
	})
	return w
}

// LeadTo makes the wire end at host:port, for connections from now on.
func (w *Wire) LeadTo(addr string) { w.target.Store(&addr) }

// Multiaddr is Addr as libp2p writes it.
func (w *Wire) Multiaddr() string {
	host, port, _ := strings.Cut(w.Addr, ":")
	return "/ip4/" + host + "/tcp/" + port
}

// trip is what happens when so many bytes have come.
type trip struct {
	bytes int64
	once  sync.Once
	do    func()
}

// At calls do once, when From reaches n, before the byte is handed on.
func (w *Wire) At(n int64, do func()) { w.trip.Store(&trip{bytes: n, do: do}) }

// Freeze lets nothing pass, either way, and closes nothing, as a cable does that
// is pulled between two routers, until the function it returns is called.
func (w *Wire) Freeze() (thaw func()) {
	w.held.Lock()
	return sync.OnceFunc(w.held.Unlock)
}

// Reset ends all connections by RST, whatever is under way.
func (w *Wire) Reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.now {
		_ = c.SetLinger(0)
		_ = c.Close()
	}
}

// note makes Reset end a connection until the function it returns is called.
func (w *Wire) note(c *net.TCPConn) (forget func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now[c] = true
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.now, c)
		_ = c.Close()
	}
}

// Conns returns how many connections were made.
func (w *Wire) Conns() int64 { return w.conns.Load() }

// Open returns how many connections there are now: at 0, all that was sent over
// any is counted.
func (w *Wire) Open() int64 { return w.open.Load() }

// To returns the bytes that went to where the wire leads.
func (w *Wire) To() int64 { return w.to.Load() }

// From returns the bytes that came from there.
func (w *Wire) From() int64 { return w.from.Load() }

func (w *Wire) carry(c net.Conn) {
	defer w.note(c.(*net.TCPConn))()
	target := w.target.Load()
	if target == nil {
		return
	}
	d, err := net.Dial("tcp", *target)
	if err != nil {
		return
	}
	defer w.note(d.(*net.TCPConn))()
	var both sync.WaitGroup
	both.Go(func() { w.pass(d.(*net.TCPConn), c, &w.to) })
	both.Go(func() { w.pass(c.(*net.TCPConn), d, &w.from) })
	both.Wait()
}

// pass counts before it hands on, so that who has got a byte finds it
// counted.
func (w *Wire) pass(dst *net.TCPConn, src io.Reader, n *atomic.Int64) {
	defer dst.CloseWrite()
	b := make([]byte, 32<<10)
	for {
		got, err := src.Read(b)
		sum := n.Add(int64(got))
		if at := w.trip.Load(); at != nil && n == &w.from && sum >= at.bytes {
			at.once.Do(at.do)
		}
		w.held.RLock() // waits while nothing passes
		_, werr := dst.Write(b[:got])
		w.held.RUnlock()
		if err != nil || werr != nil {
			return
		}
	}
}
