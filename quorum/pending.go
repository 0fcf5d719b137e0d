package quorum

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

const (
	maxOverdue = 16          // that Raft may owe before it is asked nothing more
	goneFor    = time.Second // that the end of a keeper waits for them
)

// pending is what Raft was asked and has not done. Raft stands still while its
// disk does (see ballot), and what it had not taken up when it was closed it
// never answers. So who asks goes away after a while, and what still waits for
// the answer is bounded: while Raft owes maxOverdue answers that nobody waits
// for, it is asked nothing.
type pending struct {
	mu      sync.Mutex
	running int
	overdue int           // of those that run
	idle    chan struct{} // made by close, closed when none runs; nil = open
}

// settled waits until Raft has done what ask wants, or ctx ends, or for
// settleFor. It is errNotLeader where Raft is not asked.
func (p *pending) settled(ctx context.Context, ask func() raft.Future) error {
	p.mu.Lock()
	if p.idle != nil || p.overdue >= maxOverdue {
		defer p.mu.Unlock()
		return fmt.Errorf("%w: Raft has %d answers to give", errNotLeader, p.overdue)
	}
	p.running++
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, settleFor)
	defer cancel()
	done := make(chan error, 1)
	late := false // under the lock
	go func() {   // close waits for it
		err := ask().Error()
		p.mu.Lock()
		defer p.mu.Unlock()
		done <- err
		if late {
			p.overdue--
		}
		if p.running--; p.running == 0 && p.idle != nil {
			close(p.idle)
		}
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case err := <-done: // just now
		return err
	default:
		late = true
		p.overdue++
		return ctx.Err()
	}
}

// close lets nothing more be asked, and returns how many did not end within
// goneFor.
func (p *pending) close() int {
	p.mu.Lock()
	p.idle = make(chan struct{})
	if p.running == 0 {
		close(p.idle)
	}
	p.mu.Unlock()
	select {
	case <-p.idle:
	case <-time.After(goneFor):
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.running
}
