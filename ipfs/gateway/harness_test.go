package gateway_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ipdc/ipdc/ipfs/car"
	"github.com/ipdc/ipdc/ipfs/gateway"
	"github.com/ipdc/ipdc/ipfs/ipfstest"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/jobspec"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// origin is a trustless gateway over blocks in memory. lie answers instead
// when it returns true.
type origin struct {
	url    string
	blocks *ipfstest.Memory
	asked  atomic.Int64
	lie    func(w http.ResponseWriter, r *http.Request, c jobspec.CID) bool
}

func newOrigin(t *testing.T, m *ipfstest.Memory, lie func(http.ResponseWriter, *http.Request, jobspec.CID) bool) *origin {
	t.Helper()
	o := &origin{blocks: m, lie: lie}
	srv := httptest.NewServer(o)
	t.Cleanup(srv.Close)
	o.url = srv.URL
	return o
}

func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.asked.Add(1)
	c, err := jobspec.ParseCID(strings.TrimPrefix(r.URL.Path, "/ipfs/"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if o.lie != nil && o.lie(w, r, c) {
		return
	}
	data, err := o.blocks.Get(r.Context(), c)
	switch {
	case err != nil:
		http.Error(w, "not here", http.StatusNotFound)
	case wantsCAR(r):
		w.Header().Set("Content-Type", "application/vnd.ipld.car; version=1")
		_ = car.Write(r.Context(), w, o.blocks, c)
	default:
		raw(w, data)
	}
}

func wantsCAR(r *http.Request) bool { return r.URL.Query().Get("format") == "car" }

func raw(w http.ResponseWriter, data []byte) {
	w.Header().Set("Content-Type", "application/vnd.ipld.raw")
	_, _ = w.Write(data)
}

// tree packs n files of some hundred bytes, in directories of 50.
func tree(t *testing.T, m *ipfstest.Memory, n int) jobspec.CID {
	t.Helper()
	dir := t.TempDir()
	for i := range n {
		path := filepath.Join(dir, fmt.Sprint(i/50), fmt.Sprint(i))
		err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, bytes.Repeat(fmt.Appendln(nil, i), 50), 0o644))
		if err != nil {
			t.Fatal(err)
		}
	}
	res, err := pack.Tree(t.Context(), m, dir, pack.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return res.CID
}

func leaf(t *testing.T, m *ipfstest.Memory, text string) jobspec.CID {
	t.Helper()
	c, _, err := pack.File(t.Context(), m, strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func client(t *testing.T, wait time.Duration, origins ...*origin) *gateway.Client {
	t.Helper()
	cfg := gateway.Config{Wait: wait}
	for _, o := range origins {
		cfg.URLs = append(cfg.URLs, o.url)
	}
	c, err := gateway.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// fetchAll fetches a DAG and returns what was given.
func fetchAll(t *testing.T, c *gateway.Client, root jobspec.CID) (map[jobspec.CID][]byte, error) {
	t.Helper()
	got := map[jobspec.CID][]byte{}
	err := c.DAG(t.Context(), []jobspec.CID{root}, func(id jobspec.CID, data []byte) error {
		if _, twice := got[id]; twice {
			t.Errorf("block %s was given twice", id)
		}
		got[id] = data
		return nil
	})
	return got, err
}

// wantWhole fails unless got is exactly what m holds.
func wantWhole(t *testing.T, m *ipfstest.Memory, got map[jobspec.CID][]byte) {
	t.Helper()
	for _, c := range m.Blocks() {
		want, err := m.Get(context.Background(), c)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got[c], want) {
			t.Errorf("block %s: got %d bytes, want %d", c, len(got[c]), len(want))
		}
	}
	if len(got) != m.Len() {
		t.Errorf("got %d blocks, want %d", len(got), m.Len())
	}
}

func wantKind(t *testing.T, err error, kind jobspec.Kind, words ...string) {
	t.Helper()
	if !errors.Is(err, kind.Error()) {
		t.Fatalf("error %v, want kind %s", err, kind)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

// endless is an answer that has no end.
func endless(w io.Writer) {
	for chunk := make([]byte, 64<<10); ; {
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
}
