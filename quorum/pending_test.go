package quorum

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/hashicorp/raft"
)

// owed is a future that ends when its channel does.
type owed chan struct{}

func (o owed) Error() error {
	<-o
	return nil
}

// Of a Raft that stands still only so many answers are waited for, and it is
// asked again when it has given them.
func TestPendingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pending
		hung := make(owed)
		var asked atomic.Int64
		ask := func() raft.Future { asked.Add(1); return hung }
		for range maxOverdue {
			if err := p.settled(t.Context(), ask); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("settled = %v, want the end of its time", err)
			}
		}
		if err := p.settled(t.Context(), ask); !errors.Is(err, errNotLeader) || asked.Load() != maxOverdue {
			t.Errorf("settled with %d overdue = %v, Raft was asked %d times, want errNotLeader at once", maxOverdue, err, asked.Load())
		}
		close(hung)
		synctest.Wait()
		if err := p.settled(t.Context(), ask); err != nil {
			t.Errorf("settled when Raft goes on = %v", err)
		}
		if n := p.close(); n != 0 {
			t.Errorf("close leaves %d behind, want none", n)
		}
		if err := p.settled(t.Context(), ask); !errors.Is(err, errNotLeader) {
			t.Errorf("settled after close = %v, want errNotLeader", err)
		}
	})
}

// The end of a keeper waits for what is asked, but not for ever.
func TestPendingCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pending
		never := make(owed)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := p.settled(ctx, func() raft.Future { return never }); !errors.Is(err, context.Canceled) {
			t.Fatalf("settled = %v, want that it was given up", err)
		}
		if n := p.close(); n != 1 {
			t.Errorf("close leaves %d behind, want 1", n)
		}
		close(never)
		synctest.Wait()
	})
}
