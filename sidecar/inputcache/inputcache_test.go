package inputcache_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
	"go.uber.org/goleak"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/inputcache"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustCID(t testing.TB, n int) jobspec.CID {
	t.Helper()
	sum, err := multihash.Sum(fmt.Append(nil, n), multihash.SHA2_256, -1)
	must(t, err)
	return jobspec.WrapCID(cid.NewCidV1(cid.DagProtobuf, sum))
}

// stager is a Stage that writes one file, counts its calls, and waits or fails
// when told to.
type stager struct {
	calls atomic.Int64
	gate  chan struct{} // nil: does not wait
	begun chan struct{} // gets one value per call when not nil
	fail  error
}

func (s *stager) stage(ctx context.Context, c jobspec.CID, dest string) (int64, error) {
	s.calls.Add(1)
	if err := os.MkdirAll(filepath.Join(dest, "sub"), 0o755); err != nil {
		return 0, err
	}
	if err := os.WriteFile(filepath.Join(dest, "sub", "file"), []byte(c.String()), 0o644); err != nil {
		return 0, err
	}
	if err := os.Symlink("sub/file", filepath.Join(dest, "link")); err != nil {
		return 0, err
	}
	if s.begun != nil {
		s.begun <- struct{}{}
	}
	if s.gate != nil {
		select {
		case <-s.gate:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
	return 100, s.fail
}

func open(t *testing.T, cfg inputcache.Config) *inputcache.Cache {
	t.Helper()
	cfg.Logger = slog.New(slog.DiscardHandler)
	c, err := inputcache.Open(t.Context(), cfg)
	must(t, err)
	t.Cleanup(func() { must(t, c.Close()) })
	return c
}

func acquire(t testing.TB, c *inputcache.Cache, root jobspec.CID) (inputcache.Entry, func()) {
	t.Helper()
	e, release, err := c.Acquire(context.Background(), root)
	must(t, err)
	wantWhole(t, e, root)
	return e, release
}

func wantWhole(t testing.TB, e inputcache.Entry, root jobspec.CID) {
	t.Helper()
	if b, err := os.ReadFile(filepath.Join(e.Path, "sub", "file")); string(b) != root.String() {
		t.Errorf("entry of %s holds %q: %v", root, b, err)
	}
}

// names returns what is in the cache's directory, its own notes left out.
func names(t testing.TB, dir string) (list []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		if e.Name() != ".boot" {
			list = append(list, e.Name())
		}
	}
	return list
}

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
	if took := time.Since(begin) / n; took > time.Millisecond {
		t.Errorf("Acquire of a staged input takes %s", took)
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

func TestEviction(t *testing.T) {
	s := &stager{}
	dir := t.TempDir()
	c := open(t, inputcache.Config{Dir: dir, MaxBytes: 250, Stage: s.stage})
	used, release := acquire(t, c, mustCID(t, 0)) // the oldest, in use
	for _, n := range []int{1, 2, 1, 3} {         // 2 is the one used least recently
		_, done := acquire(t, c, mustCID(t, n))
		done()
	}
	wantWhole(t, used, mustCID(t, 0))
	release()
	before := s.calls.Load()
	_, done := acquire(t, c, mustCID(t, 3))
	done()
	if s.calls.Load() != before {
		t.Error("the entry used last was evicted")
	}
	must(t, c.Close())
	if got := names(t, dir); len(got) > 2 {
		t.Errorf("%d entries of 100 bytes are left, the bound is 250", len(got))
	}
}

func TestTrim(t *testing.T) {
	s := &stager{}
	dir := t.TempDir()
	c := open(t, inputcache.Config{Dir: dir, MaxBytes: 1000, Stage: s.stage})
	used, release := acquire(t, c, mustCID(t, 0))
	defer release()
	for n := 1; n <= 4; n++ {
		_, done := acquire(t, c, mustCID(t, n))
		done()
	}
	c.Trim(150) // two of 100 bytes
	before := s.calls.Load()
	_, done := acquire(t, c, mustCID(t, 4))
	done()
	if s.calls.Load() != before {
		t.Error("the entry used last was removed")
	}
	c.Trim(1 << 40)
	wantWhole(t, used, mustCID(t, 0))
	must(t, c.Close())
	if got := names(t, dir); len(got) != 1 {
		t.Errorf("%d entries are left, want the one in use", len(got))
	}
}

func TestAllInUseMayExceedTheBound(t *testing.T) {
	dir := t.TempDir()
	c := open(t, inputcache.Config{Dir: dir, MaxBytes: 150, Stage: (&stager{}).stage})
	var releases []func()
	var entries []inputcache.Entry
	for n := range 4 {
		e, release := acquire(t, c, mustCID(t, n))
		entries, releases = append(entries, e), append(releases, release)
	}
	for n, e := range entries {
		wantWhole(t, e, mustCID(t, n))
	}
	for _, release := range releases {
		release()
	}
	must(t, c.Close())
	if got := names(t, dir); len(got) != 1 {
		t.Errorf("after the release of all %d entries are left, want 1", len(got))
	}
}

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
