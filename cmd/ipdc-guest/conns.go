package main

import (
	"errors"
	"net"
	"sync"
	"time"
)

// conns are the open connections of a relay, which end with it.
type conns struct {
	done chan struct{} // closed by close
	work sync.WaitGroup

	mu   sync.Mutex
	open map[net.Conn]bool
}

func newConns() *conns { return &conns{done: make(chan struct{}), open: map[net.Conn]bool{}} }

// close ends all connections and waits for who uses them. Listeners are closed
// before.
func (r *conns) close() {
	close(r.done)
	r.mu.Lock()
	for c := range r.open {
		_ = c.Close()
	}
	r.mu.Unlock()
	r.work.Wait()
}

// serve lets carry handle each connection of l until that is closed.
func (r *conns) serve(l net.Listener, carry func(net.Conn)) {
	for {
		c, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // out of files: the program has to close some
			r.pause(100 * time.Millisecond)
		default:
			r.work.Go(func() { carry(c) })
		}
	}
}

// pause waits a little and says whether the relay is still open.
func (r *conns) pause(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-r.done:
		return false
	}
}

// track notes an open connection until the returned function closes it.
func (r *conns) track(c net.Conn) func() {
	r.mu.Lock()
	r.open[c] = true
	r.mu.Unlock()
	select {
	case <-r.done: // close has looked through the open ones, or will
		_ = c.Close()
	default:
	}
	return func() {
		r.mu.Lock()
		delete(r.open, c)
		r.mu.Unlock()
		_ = c.Close()
	}
}
