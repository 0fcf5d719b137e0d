package quorum

import (
	"log/slog"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ipdc/ipdc/internal/durable"
)

// ballot keeps Raft's term and vote. Raft takes the end of the process for the
// only answer to a term that cannot be written, and with it all jobs would
// lose their node. So where the disk takes nothing Raft waits here, and with
// it this keeper; the others elect a leader without it. After any other failure
// of the disk it waits for ever, as a second fsync says nothing about the first.
type ballot struct {
	raft.StableStore
	log   *slog.Logger
	done  chan struct{} // closed when the keeper closes
	stuck atomic.Bool
}

var _ raft.StableStore = (*ballot)(nil)

// termKey is what Raft writes without a way to fail.
const termKey = "CurrentTerm"

// retryDisk is how often a disk that took nothing is tried again.
const retryDisk = time.Second

// SetUint64 implements raft.StableStore. At the end of the keeper it ends the
// goroutine that waits.
func (b *ballot) SetUint64(key []byte, v uint64) error {
	err := b.StableStore.SetUint64(key, v)
	if err == nil || string(key) != termKey {
		return err
	}
	b.stuck.Store(true)
	defer b.stuck.Store(false)
	for said := ""; err != nil; {
		var again <-chan time.Time
		say := "this keeper stands still: its disk failed; check the disk, then start the node again"
		if durable.Full(err) {
			say = "this keeper stands still: its disk takes nothing; free space on it"
			again = time.After(retryDisk)
		}
		if say != said {
			b.log.Error(say, "err", err)
			said = say
		}
		select {
		case <-b.done:
			runtime.Goexit() // what Raft deferred is run
		case <-again:
			err = b.StableStore.SetUint64(key, v)
		}
	}
	b.log.Info("this keeper goes on")
	return nil
}
