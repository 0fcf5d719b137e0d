package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/embedded"
	"github.com/ipdc/ipdc/ipfs/ipfstest"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
)

// remote is a Fetcher over blocks in memory. lie changes what it gives.
type remote struct {
	*ipfstest.Memory
	lie   func(jobspec.CID, []byte) []byte
	asked int
	dags  int
}

func (r *remote) Block(ctx context.Context, c jobspec.CID) ([]byte, error) {
	r.asked++
	data, err := r.Get(ctx, c)
	if err == nil && r.lie != nil {
		data = r.lie(c, data)
	}
	return data, err
}

// DAG gives all it has, as one that is asked for the root does.
func (r *remote) DAG(ctx context.Context, roots []jobspec.CID, put func(jobspec.CID, []byte) error) error {
	r.dags++
	for _, c := range roots {
		if _, err := r.Get(ctx, c); err != nil {
			return err
		}
	}
	for _, c := range r.Blocks() {
		data, err := r.Block(ctx, c)
		if err != nil {
			continue
		}
		if err := put(c, data); err != nil {
			return err
		}
	}
	return nil
}

func newRemote(t *testing.T, files int) (*remote, jobspec.CID) {
	t.Helper()
	dir := t.TempDir()
	for i := range files {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), fmt.Append(nil, "file ", i), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r := &remote{Memory: ipfstest.NewMemory()}
	res, err := pack.Tree(t.Context(), r.Memory, dir, pack.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return r, res.CID
}

func openWith(t *testing.T, cfg embedded.Config) *embedded.Node {
	t.Helper()
	cfg.Dir = t.TempDir()
	n, err := embedded.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeNode(t, n) })
	return n
}

func wantKind(t *testing.T, err error, kind jobspec.Kind) {
	t.Helper()
	if !errors.Is(err, kind.Error()) {
		t.Fatalf("error %v, want kind %s", err, kind)
	}
}

func stat(t *testing.T, n *embedded.Node) ipfs.Stat {
	t.Helper()
	st, err := n.Stat(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func TestPinFetchesWhatIsMissing(t *testing.T) {
	r, root := newRemote(t, 20)
	n := openWith(t, embedded.Config{Fetcher: r})
	for range 2 { // the second finds all of it
		if err := n.Pin(t.Context(), "p", root); err != nil {
			t.Fatal(err)
		}
	}
	if r.dags != 1 {
		t.Errorf("%d fetches, want 1", r.dags)
	}
	if _, err := n.GC(t.Context()); err != nil {
		t.Fatal(err)
	}
	if st, err := n.Verify(t.Context(), root); err != nil || st.Blocks != int64(r.Len()) {
		t.Errorf("Verify = %+v, %v, want %d blocks", st, err, r.Len())
	}
}

// TestPinFetchesTheRest has a directory whose root and some of whose files are
// here already.
func TestPinFetchesTheRest(t *testing.T) {
	r, root := newRemote(t, 20)
	n := openWith(t, embedded.Config{Fetcher: r})
	if _, err := n.Get(t.Context(), root); err != nil {
		t.Fatal(err)
	}
	if ok, err := n.Has(t.Context(), root); !ok || err != nil {
		t.Fatalf("Has(root) after Get = %v, %v", ok, err)
	}
	if err := n.Pin(t.Context(), "p", root); err != nil {
		t.Fatal(err)
	}
	if st, err := n.Verify(t.Context(), root); err != nil || st.Blocks != int64(r.Len()) {
		t.Errorf("Verify = %+v, %v, want %d blocks", st, err, r.Len())
	}
}

func TestGetFetchesABlock(t *testing.T) {
	r, root := newRemote(t, 20)
	n := openWith(t, embedded.Config{Fetcher: r})
	for range 2 { // the second is stored
		if _, err := tree.Resolve(t.Context(), n, root, []string{"7"}); err != nil {
			t.Fatal(err)
		}
	}
	if r.asked != 1 || stat(t, n).Blocks != 1 {
		t.Errorf("%d blocks were asked for and %d stored, want the root", r.asked, stat(t, n).Blocks)
	}
	if _, err := n.GC(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := stat(t, n).Blocks; got != 0 {
		t.Errorf("%d blocks after GC, want none, as nothing is pinned", got)
	}
}

// TestLieIsNotStored has a fetcher that does not keep its word; the same one
// without the lie is the control.
func TestLieIsNotStored(t *testing.T) {
	r, root := newRemote(t, 20)
	n := openWith(t, embedded.Config{Fetcher: r})
	r.lie = func(_ jobspec.CID, data []byte) []byte { return append(data[:len(data):len(data)], 'x') }
	_, err := n.Get(t.Context(), root)
	wantKind(t, err, jobspec.KindBlockHash)
	wantKind(t, n.Pin(t.Context(), "p", root), jobspec.KindBlockHash)
	if st := stat(t, n); st.Blocks != 0 {
		t.Errorf("%d blocks of a lie are stored", st.Blocks)
	}
	if pins, err := n.Pins(t.Context(), ""); err != nil || len(pins) != 0 {
		t.Errorf("pins %v, %v", pins, err)
	}
	r.lie = nil
	if err := n.Pin(t.Context(), "p", root); err != nil {
		t.Errorf("Pin without the lie: %v", err)
	}
}

func TestOnlyGetAndPinFetch(t *testing.T) {
	r, root := newRemote(t, 20)
	n := openWith(t, embedded.Config{Fetcher: r})
	_, err := n.Add(t.Context(), "p", func(s ipfs.Session) (jobspec.CID, error) { return root, nil })
	wantKind(t, err, jobspec.KindFetchTimeout)
	_, err = n.Verify(t.Context(), root)
	wantKind(t, err, jobspec.KindFetchTimeout)
	if ok, err := n.Has(t.Context(), root); ok || err != nil {
		t.Errorf("Has = %v, %v", ok, err)
	}
	if r.asked+r.dags > 0 {
		t.Errorf("%d blocks and %d DAGs were fetched", r.asked, r.dags)
	}
}

func TestFetchWithoutRoom(t *testing.T) {
	r, root := newRemote(t, 20)
	full := true
	n := openWith(t, embedded.Config{Fetcher: r, Room: func(context.Context, int64) error {
		if full {
			return jobspec.KindLimit.Errorf("the disk is full")
		}
		return nil
	}})
	wantKind(t, n.Pin(t.Context(), "p", root), jobspec.KindLimit)
	if _, err := n.Get(t.Context(), root); err != nil {
		t.Errorf("Get, which stores nothing: %v", err)
	}
	if st := stat(t, n); st.Blocks != 0 {
		t.Errorf("%d blocks are stored", st.Blocks)
	}
	full = false
	if err := n.Pin(t.Context(), "p", root); err != nil {
		t.Error(err)
	}
}
