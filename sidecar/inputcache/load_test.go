package inputcache_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/ipdc/ipdc/internal/faultfs"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/inputcache"
)

func TestReopen(t *testing.T) {
	s := &stager{}
	dir := t.TempDir()
	first := open(t, inputcache.Config{Dir: dir, Stage: s.stage})
	kept, _ := acquire(t, first, mustCID(t, 1)) // never released: its container goes on
	must(t, first.Close())
	half := filepath.Join(dir, ".tmp-9", "data", "deep")
	must(t, os.MkdirAll(half, 0o700))
	must(t, os.Chmod(filepath.Dir(half), 0o555))
	must(t, os.Mkdir(filepath.Join(dir, mustCID(t, 2).String()), 0o700)) // no size, no data
	second := open(t, inputcache.Config{Dir: dir, Stage: s.stage})
	if got := names(t, dir); len(got) != 1 {
		t.Errorf("after Open: %v, want the one whole entry", got)
	}
	again, release := acquire(t, second, mustCID(t, 1))
	defer release()
	if again != kept || s.calls.Load() != 1 {
		t.Errorf("Acquire = %v after %d stagings, want %v after 1", again, s.calls.Load(), kept)
	}
}

// Entries of an earlier process may be mounted: until it is settled that nobody
// has them they stay, whatever the bound, the kind and the disk.
func TestKeptForRunningContainers(t *testing.T) {
	for name, brief := range map[string]bool{"bound": false, "brief": true} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			first := open(t, inputcache.Config{Dir: dir, Stage: (&stager{}).stage})
			mounted, _ := acquire(t, first, mustCID(t, 1))
			unused, release := acquire(t, first, mustCID(t, 3))
			release()
			must(t, first.Close())
			second := open(t, inputcache.Config{
				Dir: dir, MaxBytes: 100, Stage: (&stager{}).stage,
				Brief: func(context.Context, jobspec.CID) bool { return brief },
			})
			_, release = acquire(t, second, mustCID(t, 2))
			release()
			second.Trim(1 << 40)
			wantWhole(t, mounted, mustCID(t, 1))
			wantWhole(t, unused, mustCID(t, 3))
			_, release = acquire(t, second, mustCID(t, 1))
			second.Settle()
			second.Trim(1 << 40)
			wantWhole(t, mounted, mustCID(t, 1))
			if _, err := os.Stat(unused.Path); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("Stat of what nobody asked for, when it is settled: %v, want that it is gone", err)
			}
			release()
			must(t, second.Close())
			second.Settle() // changes nothing any more
		})
	}
}

// A start on a disk that is full, or that is killed as it writes, does not cost
// the entries of a start of the machine that goes on: another one's does.
func TestStartOnAFullDisk(t *testing.T) {
	for writes := range 3 { // that are well: what cuts the file is one
		disk, dir := faultfs.New(t), t.TempDir()
		cfg := inputcache.Config{Dir: dir, Stage: (&stager{}).stage}
		first := open(t, cfg)
		mounted, _ := acquire(t, first, mustCID(t, 1))
		must(t, first.Close())
		boot, at := filepath.Join(dir, ".boot"), filepath.Join(disk.Dir, "boot") // the disk has no links, which inputs have
		b, err := os.ReadFile(boot)
		must(t, err)
		must(t, os.WriteFile(at, b, 0o600))
		must(t, os.Remove(boot))
		must(t, os.Symlink(at, boot))
		disk.Fail(faultfs.Fault{Op: faultfs.Write, Errno: syscall.ENOSPC, Skip: writes})
		if c, err := inputcache.Open(t.Context(), cfg); err == nil {
			must(t, c.Close())
		}
		disk.Mend()
		open(t, cfg)
		wantWhole(t, mounted, mustCID(t, 1))
	}
}

func TestRestartOfTheMachineEmptiesIt(t *testing.T) {
	s := &stager{}
	dir := t.TempDir()
	first := open(t, inputcache.Config{Dir: dir, Stage: s.stage})
	_, release := acquire(t, first, mustCID(t, 1))
	release()
	must(t, first.Close())
	must(t, os.WriteFile(filepath.Join(dir, ".boot"), []byte("another"), 0o600))
	second := open(t, inputcache.Config{Dir: dir, Stage: s.stage})
	if got := names(t, dir); len(got) != 0 {
		t.Errorf("after a restart of the machine: %v", got)
	}
	_, release = acquire(t, second, mustCID(t, 1))
	release()
}

func TestRemovedByHand(t *testing.T) {
	dir := t.TempDir()
	c := open(t, inputcache.Config{Dir: dir, Stage: (&stager{}).stage})
	e, release := acquire(t, c, mustCID(t, 1))
	release()
	must(t, os.RemoveAll(filepath.Dir(e.Path)))
	_, release = acquire(t, c, mustCID(t, 1))
	release()
}

func TestClosed(t *testing.T) {
	s := &stager{gate: make(chan struct{}), begun: make(chan struct{}, 1)}
	c := open(t, inputcache.Config{Dir: t.TempDir(), Stage: s.stage})
	done := make(chan error, 1)
	go func() { _, _, err := c.Acquire(context.Background(), mustCID(t, 1)); done <- err }()
	<-s.begun
	must(t, c.Close())
	if err := <-done; !errors.Is(err, inputcache.ErrClosed) {
		t.Errorf("waiting Acquire = %v, want ErrClosed", err)
	}
	if _, _, err := c.Acquire(t.Context(), mustCID(t, 1)); !errors.Is(err, inputcache.ErrClosed) {
		t.Errorf("Acquire after Close = %v, want ErrClosed", err)
	}
}
