package kubo_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/car"
	"github.com/ipdc/ipdc/ipfs/ipfstest"
	"github.com/ipdc/ipdc/ipfs/kubo"
	"github.com/ipdc/ipdc/ipfs/merge"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
)

// calls counts the calls that pass to a Kubo, by name.
type calls struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *calls) through(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		c.n[strings.TrimPrefix(r.URL.Path, "/api/v0/")]++
		c.mu.Unlock()
		next.ServeHTTP(w, r)
	})
}

// take returns the calls since the last take.
func (c *calls) take() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	got := c.n
	c.n = map[string]int{}
	return got
}

// counting is a server in front of a Kubo that counts calls.
func counting(t *testing.T, kuboURL string) (*calls, kubo.Addr) {
	t.Helper()
	u, err := url.Parse(kuboURL)
	if err != nil {
		t.Fatal(err)
	}
	c := &calls{n: map[string]int{}}
	return c, serve(t, c.through(&httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(u) },
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}))
}

func serve(t *testing.T, h http.Handler) kubo.Addr {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	a, err := kubo.ParseAddr(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// sample fills s with a directory of small files, a HAMT where they are
// thousands, ten of them as the first, and beside it a file of several blocks.
func sample(t *testing.T, s ipfs.Session, small int) jobspec.CID {
	t.Helper()
	var files []merge.File
	file := func(path string, r io.Reader) {
		c, size, err := pack.File(t.Context(), s, r)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, merge.File{Path: path, CID: c, Size: size})
	}
	for i := range small {
		file(fmt.Sprintf("many/file-%06d.txt", i), strings.NewReader(fmt.Sprint(max(10, i))))
	}
	file("one/large", io.LimitReader(rand.NewChaCha8([32]byte{}), 3<<20+17))
	root, err := merge.Files(t.Context(), s, files)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// contents is what a walk of the files below root finds, by g.
func contents(t *testing.T, g ipfs.Getter, root jobspec.CID) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := tree.Read(t.Context(), g, root, ipfs.Budget{}, func(e tree.Entry, c *tree.Content) error {
		if c == nil {
			return nil
		}
		var b strings.Builder
		_, err := c.Copy(t.Context(), &b)
		found[e.Path] = b.String()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// A walk over thousands of small files asks Kubo for one DAG, not for
// thousands of blocks.
func TestWalksCostFewCalls(t *testing.T) {
	k := testenv.Kubo(t)
	const many = 5500
	asked, a := counting(t, k.API)
	n := open(t, kubo.Config{Addr: a, Dir: t.TempDir(), Owner: "test"})
	m := ipfstest.NewMemory()
	root := sample(t, m, many)
	if _, err := n.Add(t.Context(), "p", func(s ipfs.Session) (jobspec.CID, error) { return sample(t, s, many), nil }); err != nil {
		t.Fatal(err)
	}
	want := contents(t, m, root)
	var stat ipfs.Stat
	for name, walk := range map[string]func() error{
		"Read": func() error {
			if got := contents(t, n, root); !maps.Equal(got, want) {
				return fmt.Errorf("%d files, not those that were added", len(got))
			}
			return nil
		},
		"Verify": func() (err error) { stat, err = n.Verify(t.Context(), root); return err },
		"Pin": func() error {
			return open(t, kubo.Config{Addr: a, Dir: t.TempDir(), Owner: "another"}).Pin(t.Context(), "p", root)
		},
		"export": func() error { return car.Write(t.Context(), io.Discard, n, root) },
	} {
		asked.take()
		if err := walk(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		got := asked.take()
		sum := 0
		for _, n := range got {
			sum += n
		}
		if got["dag/export"] != 1 || sum > 20 {
			t.Errorf("%s: calls %v, want one dag/export and 20 in all at most", name, got)
		}
	}
	if stat.Blocks != int64(m.Len()) {
		t.Errorf("Verify = %+v, want %d blocks", stat, m.Len())
	}
	asked.take() // the control: without the stream each block is a call
	contents(t, struct{ ipfs.Getter }{n}, root)
	if got := asked.take(); got["block/get"] < many {
		t.Errorf("calls block by block: %v, want one for each of %d files", got, many)
	}
}

// Whatever dag/export sends, a walk finds what the DAG holds.
func TestWrongExportIsNotBelieved(t *testing.T) {
	m := ipfstest.NewMemory()
	root, other := sample(t, m, 500), ipfstest.NewMemory()
	want := contents(t, m, root)
	var whole, foreign, leaf bytes.Buffer
	if err := car.Write(t.Context(), &whole, m, root); err != nil {
		t.Fatal(err)
	}
	otherRoot, _, err := pack.File(t.Context(), other, io.LimitReader(rand.NewChaCha8([32]byte{1}), 20<<20))
	if err == nil {
		err = other.Put(t.Context(), sum([]byte("leaf")), []byte("leaf"))
	}
	if err == nil {
		err = errors.Join(car.Write(t.Context(), &foreign, other, otherRoot), car.Write(t.Context(), &leaf, other, sum([]byte("leaf"))))
	}
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(whole.Bytes())
	flipped[len(flipped)/2] ^= 1
	for name, c := range map[string]struct {
		export http.HandlerFunc
		right  bool
	}{
		"whole":    {says(200, whole.String()), true},
		"flipped":  {says(200, string(flipped)), false},
		"cut":      {says(200, whole.String()[:whole.Len()/3]), false},
		"another":  {says(200, foreign.String()), false},
		"no CAR":   {says(200, "<html>"), false},
		"an error": {says(500, absent), false},
		"repeated": {func(w http.ResponseWriter, r *http.Request) {
			_, err := w.Write(leaf.Bytes())
			for err == nil { // a length, a CID and four bytes
				_, err = w.Write(leaf.Bytes()[leaf.Len()-1-36-4:])
			}
		}, false},
	} {
		asked := &calls{n: map[string]int{}}
		a := serve(t, asked.through(fake{"dag/export": c.export, "block/get": blocksOf(m)}))
		n := open(t, kubo.Config{Addr: a, Dir: t.TempDir(), Owner: "test"})
		if got := contents(t, n, root); !maps.Equal(got, want) {
			t.Errorf("%s: a walk finds %d files, not the %d that are there", name, len(got), len(want))
		}
		if got := asked.take(); got["dag/export"] != 1 || (got["block/get"] == 0) != c.right {
			t.Errorf("%s: calls %v, want blocks asked for unless the export is right", name, got)
		}
	}
}
