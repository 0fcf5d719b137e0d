package bus

import (
	"context"
	"sync"
	"sync/atomic"
)

// Inbox is what adapters receive with: a bounded queue between the medium,
// which Puts, and the one caller of Receive. Make one with NewInbox.
type Inbox struct {
	queue   chan Delivery // never closed
	done    chan struct{} // closed by Close
	close   sync.Once
	busy    atomic.Bool
	dropped atomic.Int64
}

// NewInbox returns an inbox for size messages; 0 means 256.
func NewInbox(size int) *Inbox {
	if size <= 0 {
		size = 256
	}
	return &Inbox{queue: make(chan Delivery, size), done: make(chan struct{})}
}

// Put never waits: it reports false, and counts, when the queue is full or the
// inbox is closed.
func (i *Inbox) Put(d Delivery) bool {
	if !i.Closed() {
		select {
		case i.queue <- d:
			return true
		default:
		}
	}
	i.dropped.Add(1)
	return false
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
