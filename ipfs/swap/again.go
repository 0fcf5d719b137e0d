package swap

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/ipfs/boxo/exchange"
	blocks "github.com/ipfs/go-block-format"
	"github.com/libp2p/go-libp2p/core/network"

	"github.com/ipdc/ipdc/jobspec"
)

// losses tells when a connection to a member has ended. What was on its way
// over it is lost, and bitswap does not send it again when the member is back,
// or has a second connection.
type losses struct {
	mu   sync.Mutex
	next chan struct{} // closed by the next loss
	last time.Time
}

// comeback is how long a member that was lost may take to come back, before it
// counts that the others have nothing: the host dials again every five seconds.
const comeback = 12 * time.Second

// hope says whether a member that was lost lately may still have what a search
// that began then did not find.
func (l *losses) hope(begun time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.last.IsZero() && time.Since(l.last) < comeback && time.Since(begun) < 2*comeback
}

// wait is closed by the next loss.
func (l *losses) wait() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.next == nil {
		l.next = make(chan struct{})
	}
	return l.next
}

func (l *losses) tell() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = time.Now()
	if l.next != nil {
		close(l.next)
		l.next = nil
	}
}

// follow notes losses until the function that it returns is called.
func (l *losses) follow(n network.Network) (stop func()) {
	watch := &network.NotifyBundle{DisconnectedF: func(network.Network, network.Conn) { l.tell() }}
	n.Notify(watch)
	return func() { n.StopNotify(watch) }
}

// graceful is how long a block may still take after a loss, and members that
// are cut off to come back. Then it is asked for again.
const graceful = 2 * time.Second

var errAgain = errors.New("a connection was lost")

// get asks for a block, and again when a connection was lost meanwhile.
func (l *losses) get(ctx context.Context, from exchange.Fetcher, id jobspec.CID) (blocks.Block, error) {
	for {
		blk, err := l.once(ctx, from, id)
		if err == nil || ctx.Err() != nil || !errors.Is(err, errAgain) {
			return blk, err
		}
	}
}

func (l *losses) once(ctx context.Context, from exchange.Fetcher, id jobspec.CID) (blocks.Block, error) {
	try, give := context.WithCancelCause(ctx)
	lost := l.wait()
	var watching sync.WaitGroup
	defer watching.Wait()
	defer give(nil)
	watching.Go(func() {
		select {
		case <-try.Done():
			return
		case <-lost:
		}
		select {
		case <-try.Done():
		case <-time.After(graceful):
			give(errAgain)
		}
	})
	blk, err := from.GetBlock(try, id.Cid())
	if err != nil && context.Cause(try) == errAgain {
		err = errAgain
	}
	return blk, err
}
