package sidecar_test

import (
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/ipdc/ipdc/jobspec"
)

// inputStaged says whether a node has files staged of an input.
func (b *bench) inputStaged(root string) bool {
	b.t.Helper()
	_, err := os.Stat(filepath.Join(b.dir, "inputs", root, "data"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		b.t.Fatal(err)
	}
	return err == nil
}

// The input of a container that runs on stays for as long as its job waits for
// the keepers after a restart, however little room there is. When all that ran
// on have asked for theirs, what nobody uses may go.
func TestInputStaysWhileKeepersAreSilent(t *testing.T) {
	f := newRecorded(t, 3, shortLease)
	b := f.nodes[0]
	root := b.input("a:text")
	s := spec("DUMMY_SLEEP=1h")
	s.Inputs = []jobspec.Input{{CID: root}}
	id := b.submit(s)
	b.until(id, jobspec.AttemptRunning)
	if !b.inputStaged(root) {
		t.Fatal("the program runs elsewhere")
	}
	var silent atomic.Bool
	silent.Store(true)
	b.twin = func() error {
		if silent.Load() {
			return errors.New("somebody else may be this node")
		}
		return nil
	}
	b.swept() // what is known of an earlier process is known
	b.staged.Trim(1 << 40)
	if !b.inputStaged(root) {
		t.Fatal("the input of a program that runs was removed")
	}
	silent.Store(false)
	if _, err := b.Stop(t.Context(), "t", id); err != nil {
		t.Fatal(err)
	}
	b.final(id)
	f.await("what nobody uses may go", func() bool {
		b.staged.Trim(1 << 40)
		return !b.inputStaged(root)
	})
}

// A node that stops leaves its containers running, and their inputs, whatever
// the bound of the cache.
func TestInputStaysWhenTheNodeStops(t *testing.T) {
	b := newBench(t)
	b.cacheBytes = 1
	b.restart()
	root := b.input("a:text")
	s := spec("DUMMY_SLEEP=1h")
	s.Inputs = []jobspec.Input{{CID: root}}
	id := b.submit(s)
	b.until(id, jobspec.AttemptRunning)
	b.stop()
	if err := b.staged.Close(); err != nil { // waits for removals
		t.Fatal(err)
	}
	if !b.inputStaged(root) {
		t.Error("the input of a program that runs on was removed")
	}
	b.start()
	if _, err := b.Stop(t.Context(), "t", id); err != nil {
		t.Fatal(err)
	}
	b.final(id)
}
