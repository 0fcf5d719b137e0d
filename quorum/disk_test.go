package quorum_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/ipdc/ipdc/internal/durable"
	"github.com/ipdc/ipdc/internal/faultfs"
	"github.com/ipdc/ipdc/jobspec"
)

// A node that knows of no record yet removes what was left half made, and goes
// on where that cannot be removed.
func TestLeftHalfMade(t *testing.T) {
	c := newCouncil(t, 1)
	dir := t.TempDir()
	left, stays := filepath.Join(dir, ".ipdc-new-1"), filepath.Join(dir, ".ipdc-new-2")
	if err := os.WriteFile(left, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nothing", stays); err != nil {
		t.Fatal(err)
	}
	c.joinAt(dir)
	if _, err := os.Lstat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what was left half made is still there: %v", err)
	}
	if err := durable.Sweep(dir); err == nil {
		t.Error("control: Sweep removes a link")
	}
}

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
		leads := l == full
		if leads {
			l = c.all[1]
		}
		l.stop() // two of three are left, and need each other
		c.await("the full disk is to take a new term", func() bool {
			if leads { // it needs none, until it has tried to write
				_ = full.Enter(c.ctx(100*time.Millisecond), full.entry())
			}
			return d.Hits() > 0
		})
		if mended {
			d.Mend()
			full.enter()
		}
		for _, s := range c.all {
			s.stop()
		}
	}
}

// Of a leader whose disk hangs, what it is asked comes to an end all the same,
// and all goes on when the disk does. Another one may be elected meanwhile.
func TestF16LeaderOnADiskThatHangs(t *testing.T) {
	d := faultfs.New(t)
	c := newCouncil(t, 0)
	for i := range 3 {
		c.joinAt(filepath.Join(d.Dir, fmt.Sprint(i)))
	}
	c.formed(3)
	e := c.all[0].enter()
	l := c.leader()
	d.Fail(faultfs.Fault{Op: faultfs.Sync, Name: filepath.Base(l.dir) + "/", Hold: true})
	entered := make(chan error, 1)
	go func() { entered <- l.Enter(c.ctx(2*time.Second), l.entry()) }()
	c.await("the leader's disk hangs", func() bool { return d.Hits() > 0 })
	if _, err := l.Find(c.ctx(time.Second), e.Job); err != nil && !errors.Is(err, jobspec.KindNoQuorum.Error()) {
		t.Errorf("Find = %v, want an answer or E_NO_QUORUM", err)
	}
	if err := <-entered; err != nil && !errors.Is(err, jobspec.KindNoQuorum.Error()) {
		t.Errorf("Enter = %v, want E_NO_QUORUM", err)
	}
	d.Release()
	l.enter()
	l.found(e.Job)
}
