package inputcache_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
	"go.uber.org/goleak"

	"github.com/ipdc/ipdc/internal/faultfs"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/inputcache"
)

func TestMain(m *testing.M) {
	faultfs.Serve()
	goleak.VerifyTestMain(m)
}

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
