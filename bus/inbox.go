package bus

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/ipdc/ipdc/identity"
)

// Inbox is what adapters receive with: a bounded queue between the medium,
// which Puts, and the one caller of Receive. One sender has a quarter of it at
// most, as far as the medium knows who sends. Make one with NewInbox.
type Inbox struct {
	queue   chan Delivery // never closed
	done    chan struct{} // closed by Close
	close   sync.Once
	busy    atomic.Bool
	dropped atomic.Int64

	mu sync.Mutex
	by map[identity.ID]int // in the queue
}

// NewInbox returns an inbox for size messages; 0 means 256.
func NewInbox(size int) *Inbox {
	if size <= 0 {
		size = 256
	}
	return &Inbox{queue: make(chan Delivery, size), done: make(chan struct{}), by: map[identity.ID]int{}}
}

// Put never waits: it reports false, and counts, when the queue or its sender's
// part of it is full, or the inbox is closed.
func (i *Inbox) Put(d Delivery) bool {
	if !i.Closed() && i.count(d.From, 1) {
		select {
		case i.queue <- d:
			return true
		default:
			i.count(d.From, -1)
		}
	}
	i.dropped.Add(1)
	return false
}

// count notes that n more messages of a sender are in the queue, unless they
// have no room.
func (i *Inbox) count(from identity.ID, n int) bool {
	if from == "" {
		return true
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	switch now := i.by[from] + n; {
	case now > max(1, cap(i.queue)/4):
		return false
	case now == 0:
		delete(i.by, from)
	default:
		i.by[from] = now
	}
	return true
}

// Dropped returns how many messages had no room.
func (i *Inbox) Dropped() int64 { return i.dropped.Load() }

// Receive is Messenger's.
func (i *Inbox) Receive(ctx context.Context, handle func(Delivery)) error {
	if !i.busy.CompareAndSwap(false, true) {
		return ErrReceiving
	}
	defer i.busy.Store(false)
	for {
		select { // these two before any message
		case <-i.done:
			return ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		default:
		}
		select {
		case <-i.done:
		case <-ctx.Done():
		case d := <-i.queue:
			i.count(d.From, -1)
			handle(d)
		}
	}
}

// Close ends Receive. Closing twice is safe.
func (i *Inbox) Close() { i.close.Do(func() { close(i.done) }) }

// Closed reports whether Close was called.
func (i *Inbox) Closed() bool {
	select {
	case <-i.done:
		return true
	default:
		return false
	}
}
