package inputcache_test

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/inputcache"
)

func TestStagedOnceForManyCallers(t *testing.T) {
	s := &stager{gate: make(chan struct{}), begun: make(chan struct{}, 1)}
	c := open(t, inputcache.Config{Dir: t.TempDir(), Stage: s.stage})
	root := mustCID(t, 1)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			e, release, err := c.Acquire(t.Context(), root)
			if err != nil {
				t.Errorf("Acquire: %v", err)
				return
			}
			wantWhole(t, e, root)
			release()
			release()
		})
	}
	<-s.begun
	close(s.gate)
	wg.Wait()
	_, release := acquire(t, c, root)
	release()
	if n := s.calls.Load(); n != 1 {
		t.Errorf("staged %d times, want once", n)
	}
}

func TestSecondAcquireIsFast(t *testing.T) {
	s := &stager{}
	c := open(t, inputcache.Config{Dir: t.TempDir(), Stage: s.stage})
	root := mustCID(t, 1)
	_, release := acquire(t, c, root)
	defer release()
	begin := time.Now()
	const n = 1000
	for range n {
		_, again, err := c.Acquire(t.Context(), root)
		must(t, err)
		again()
	}
	if took := time.Since(begin) / n; took > 10*time.Millisecond || s.calls.Load() != 1 {
		t.Errorf("Acquire of a staged input takes %s, it was staged %d times", took, s.calls.Load())
	}
}

func TestFirstCallersCancelDoesNotStopTheOthers(t *testing.T) {
	s := &stager{gate: make(chan struct{}), begun: make(chan struct{}, 1)}
	dir := t.TempDir()
	c := open(t, inputcache.Config{Dir: dir, Stage: s.stage})
	root, cause := mustCID(t, 1), errors.New("stopped by its user")
	ctx, cancel := context.WithCancelCause(t.Context())
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { _, _, err := c.Acquire(ctx, root); first <- err }()
	<-s.begun
	ctx2, cancel2 := context.WithCancel(t.Context())
	defer cancel2()
	go func() {
		_, release, err := c.Acquire(ctx2, root)
		if err == nil {
			release()
		}
		second <- err
	}()
	waitWaiters(t, c, root, 2)
	cancel(cause)
	if err := <-first; !errors.Is(err, cause) {
		t.Errorf("first Acquire = %v, want the cause of its context", err)
	}
	close(s.gate)
	if err := <-second; err != nil {
		t.Errorf("second Acquire = %v, want nil", err)
	}
	if n := s.calls.Load(); n != 1 {
		t.Errorf("staged %d times, want once", n)
	}
}

// waitWaiters blocks until n callers wait for root.
func waitWaiters(t *testing.T, c *inputcache.Cache, root jobspec.CID, n int) {
	t.Helper()
	for c.Waiters(root) != n {
		if t.Context().Err() != nil {
			t.Fatal(t.Context().Err())
		}
		runtime.Gosched()
	}
}

func TestLastCallersCancelStopsTheStaging(t *testing.T) {
	s := &stager{gate: make(chan struct{}), begun: make(chan struct{}, 2)}
	dir := t.TempDir()
	c := open(t, inputcache.Config{Dir: dir, Stage: s.stage})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { _, _, err := c.Acquire(ctx, mustCID(t, 1)); done <- err }()
	<-s.begun
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Acquire = %v, want context.Canceled", err)
	}
	close(s.gate)
	_, release := acquire(t, c, mustCID(t, 1)) // who comes later starts anew
	release()
	must(t, c.Close())
	if got := names(t, dir); len(got) != 1 {
		t.Errorf("left: %v, want the one entry", got)
	}
	if n := s.calls.Load(); n != 2 {
		t.Errorf("staged %d times, want 2", n)
	}
}

func TestFailedStagingLeavesNothing(t *testing.T) {
	s := &stager{fail: jobspec.KindLimitBytes.Errorf("too large")}
	dir := t.TempDir()
	c := open(t, inputcache.Config{Dir: dir, Stage: s.stage})
	for range 2 {
		if _, _, err := c.Acquire(t.Context(), mustCID(t, 1)); !errors.Is(err, jobspec.KindLimitBytes.Error()) {
			t.Errorf("Acquire = %v, want kind E_LIMIT_BYTES", err)
		}
	}
	if got := names(t, dir); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
	s.fail = nil
	_, release := acquire(t, c, mustCID(t, 1))
	release()
}

func TestReadOnlyAndClosedToOthers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "inputs")
	c := open(t, inputcache.Config{Dir: dir, Stage: (&stager{}).stage})
	e, release := acquire(t, c, mustCID(t, 1))
	defer release()
	for path, want := range map[string]fs.FileMode{
		dir: 0o700, e.Path: 0o555, filepath.Join(e.Path, "sub"): 0o555, filepath.Join(e.Path, "sub", "file"): 0o444,
	} {
		info, err := os.Stat(path)
		must(t, err)
		if info.Mode().Perm() != want {
			t.Errorf("mode of %s = %v, want %v", path, info.Mode().Perm(), want)
		}
	}
}

// Many callers over few inputs with a bound that is always too small and
// contexts that end: an entry is whole as long as it is held.
func TestManyCallers(t *testing.T) {
	dir := t.TempDir()
	c := open(t, inputcache.Config{Dir: dir, MaxBytes: 300, Stage: (&stager{}).stage})
	var wg sync.WaitGroup
	for worker := range 16 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(worker)))
			for range 40 {
				root := mustCID(t, rnd.IntN(8))
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rnd.IntN(3000))*time.Microsecond)
				e, release, err := c.Acquire(ctx, root)
				if err == nil {
					wantWhole(t, e, root)
					wantWhole(t, e, root)
					release()
				} else if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Acquire: %v", err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	must(t, c.Close())
	if got := names(t, dir); len(got) > 3 {
		t.Errorf("left: %v, want at most 3 entries", got)
	}
}
