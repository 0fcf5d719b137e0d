package kubo_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ipdc/ipdc/ipfs/ipfstest"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/jobspec"
)

// A block that nobody has is waited for as long as was said, and who waits for
// one does not keep others from what is here.
func TestFetchIsBounded(t *testing.T) {
	here := []byte("here")
	waiting := make(chan struct{}, 100)
	cfg := fake{"block/get": func(w http.ResponseWriter, r *http.Request) {
		switch q := r.URL.Query(); {
		case q.Get("arg") == sum(here).String():
			_, _ = w.Write(here)
		case q.Get("offline") == "true":
			says(500, absent)(w, r)
		default:
			waiting <- struct{}{}
			<-r.Context().Done() // as Kubo does while it asks its peers
		}
	}}.config(t)
	cfg.Fetch = 50 * time.Millisecond
	_, err := open(t, cfg).Get(t.Context(), sum([]byte("absent")))
	if !errors.Is(err, jobspec.KindFetchTimeout.Error()) || !strings.Contains(err.Error(), "50ms") {
		t.Errorf("Get = %v, want E_FETCH_TIMEOUT after 50ms", err)
	}

	cfg.Fetch, cfg.Dir = time.Hour, t.TempDir()
	n := open(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	var fetches errgroup.Group
	for i := range 64 {
		fetches.Go(func() error {
			_, err := n.Get(ctx, sum(fmt.Appendf(nil, "absent %d", i)))
			return err
		})
	}
	for range 17 { // one of the first node, and as many as may wait at a time
		<-waiting
	}
	if data, err := n.Get(ctx, sum(here)); err != nil || string(data) != "here" {
		t.Errorf("Get of what is here meanwhile = %q, %v", data, err)
	}
	cancel()
	if err := fetches.Wait(); !errors.Is(err, context.Canceled) {
		t.Errorf("Get after its context ended = %v, want context.Canceled", err)
	}
}

// remote is a Kubo without blocks whose peers have all of m.
func remote(m *ipfstest.Memory, fetched *atomic.Int64) fake {
	return fake{
		"block/stat": says(500, absent),
		"block/get": func(w http.ResponseWriter, r *http.Request) {
			c, err := jobspec.ParseCID(r.URL.Query().Get("arg"))
			var data []byte
			if err == nil {
				data, err = m.Get(r.Context(), c)
			}
			if err != nil || r.URL.Query().Get("offline") == "true" {
				says(500, absent)(w, r)
				return
			}
			fetched.Add(1)
			_, _ = w.Write(data)
		},
	}
}

// A DAG larger than the node takes is not fetched into the user's Kubo to its
// end, nor is one when the disk is full.
func TestFetchedDAGIsBounded(t *testing.T) {
	m := ipfstest.NewMemory()
	root, size, err := pack.File(t.Context(), m, io.LimitReader(rand.NewChaCha8([32]byte{}), 64<<20))
	if err != nil {
		t.Fatal(err)
	}
	full := jobspec.KindLimit.Errorf("the disk is full")
	for name, c := range map[string]struct {
		max  int64
		room error
		want jobspec.Kind
		most int64 // blocks fetched
	}{
		"too large": {8 << 20, nil, jobspec.KindLimitBytes, 40},
		"no room":   {0, full, jobspec.KindLimit, 0},
		"control":   {2 * size, nil, jobspec.KindInternal, 1000}, // fails at dag/import
		"default":   {0, nil, jobspec.KindInternal, 1000},
	} {
		var fetched atomic.Int64
		cfg := remote(m, &fetched).config(t)
		cfg.MaxBytes = c.max
		cfg.Room = func(context.Context, int64) error { return c.room }
		err := open(t, cfg).Pin(t.Context(), "p", root)
		f := jobspec.AsFailure(err)
		if f.Kind != c.want || fetched.Load() > c.most {
			t.Errorf("%s: Pin = %v after %d blocks, want %s after %d at most", name, err, fetched.Load(), c.want, c.most)
		}
		if c.want == jobspec.KindLimitBytes && (!strings.Contains(f.Detail, "8MiB") || !strings.Contains(f.Hint, "--input-bytes")) {
			t.Errorf("%s: %+v lacks the number or the setting", name, f)
		}
		if c.want == jobspec.KindInternal && fetched.Load() < 64 {
			t.Errorf("%s: %d blocks were fetched, want all", name, fetched.Load())
		}
	}

	// What Kubo has already is pinned, however large.
	have := fake{"block/get": blocksOf(m), "block/stat": says(200, `{"Size":1048576}`)}.config(t)
	have.MaxBytes = 1
	if err := open(t, have).Pin(t.Context(), "p", root); jobspec.AsFailure(err).Kind != jobspec.KindInternal {
		t.Errorf("Pin of what is there = %v, want the failure of dag/import", err)
	}
}
