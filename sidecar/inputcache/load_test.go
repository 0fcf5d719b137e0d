package inputcache_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

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

// Entries of an earlier process may be mounted: until the grace is over they
// stay, whatever the bound.
func TestGraceForRunningContainers(t *testing.T) {
	for _, tt := range []struct {
		grace time.Duration
		kept  bool
	}{{time.Hour, true}, {time.Nanosecond, false}} {
		t.Run(tt.grace.String(), func(t *testing.T) {
			dir := t.TempDir()
			first := open(t, inputcache.Config{Dir: dir, Stage: (&stager{}).stage})
			old, release := acquire(t, first, mustCID(t, 1))
			release()
			must(t, first.Close())
			second := open(t, inputcache.Config{Dir: dir, MaxBytes: 100, Grace: tt.grace, Stage: (&stager{}).stage})
			_, release = acquire(t, second, mustCID(t, 2))
			release()
			if _, err := os.Stat(old.Path); (err == nil) != tt.kept {
				t.Errorf("Stat of the old entry: %v, want that it is kept: %v", err, tt.kept)
			}
		})
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
