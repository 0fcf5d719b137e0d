package quorum_test

import (
	"syscall"
	"testing"

	"github.com/ipdc/ipdc/internal/faultfs"
)

// A keeper whose disk is full when a new leader is to be elected stands still,
// where Raft would end the process and with it the node's jobs. It goes on when
// there is space again; or is closed before that.
func TestF16KeeperOnAFullDisk(t *testing.T) {
	for _, mended := range []bool{true, false} {
		d := faultfs.New(t)
		c := newCouncil(t, 2)
		full := c.joinAt(d.Dir)
		c.formed(3)
		c.all[0].enter()
		d.Fail(faultfs.Fault{Op: faultfs.Change, Errno: syscall.ENOSPC})
		l := c.leader()
		if l == full {
			l = c.all[1]
		}
		l.stop() // two of three are left, and need each other
		c.await("the full disk is to take a new term", func() bool { return d.Hits() > 0 })
		if mended {
			d.Mend()
			full.enter()
		}
		for _, s := range c.all {
			s.stop()
		}
	}
}
