// Package keylock is a lock per key, for work that is done once though several
// ask for it.
//
//	var locks keylock.Locks
//	unlock, err := locks.Lock(ctx, "alpine:3")
//	defer unlock()
//
// Invariants: the zero value is ready; a key takes memory only while somebody
// has its lock or waits for it.
package keylock

import (
	"context"
	"sync"
)

// Locks holds one lock per key. Its methods may be called concurrently.
type Locks struct {
	mu   sync.Mutex
	held map[string]chan struct{} // closed by who has the lock when it lets go
}

// Lock waits for the lock of key until ctx ends. The returned function, which
// is called once, lets go of it.
func (l *Locks) Lock(ctx context.Context, key string) (unlock func(), err error) {
	for {
		l.mu.Lock()
		other, taken := l.held[key]
		if !taken {
			mine := make(chan struct{})
			if l.held == nil {
				l.held = map[string]chan struct{}{}
			}
			l.held[key] = mine
			l.mu.Unlock()
			return func() {
				l.mu.Lock()
				defer l.mu.Unlock()
				delete(l.held, key)
				close(mine)
			}, nil
		}
		l.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
