package api_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/car"
	"github.com/ipdc/ipdc/ipfs/ipfstest"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
)

// fixture is a directory DAG as a CAR.
type fixture struct {
	root jobspec.CID
	big  jobspec.CID // of the file a/big, 3 MiB in several blocks
	data []byte      // of it
	car  []byte
}

func newFixture(t *testing.T) fixture {
	t.Helper()
	dir := t.TempDir()
	f := fixture{data: make([]byte, 3<<20)}
	_, _ = rand.NewChaCha8([32]byte{1}).Read(f.data)
	for name, data := range map[string][]byte{"a/big": f.data, "a/small": []byte("small"), "top": []byte("top")} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	m := ipfstest.NewMemory()
	r, err := pack.Tree(t.Context(), m, dir, pack.Options{})
	if err != nil {
		t.Fatal(err)
	}
	f.root = r.CID
	if f.big, _, err = pack.File(t.Context(), m, bytes.NewReader(f.data)); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := car.Write(t.Context(), &b, m, f.root); err != nil {
		t.Fatal(err)
	}
	f.car = b.Bytes()
	return f
}

// pins returns the names of all pins.
func (e *env) pins() []string {
	e.t.Helper()
	pins, err := e.ipfs.Pins(e.t.Context(), "")
	if err != nil {
		e.t.Fatal(err)
	}
	names := []string{}
	for _, p := range pins {
		names = append(names, p.Name)
	}
	return names
}

func TestUploadAndRead(t *testing.T) {
	e, f := start(t), newFixture(t)
	c, ctx := e.client(), t.Context()
	added, err := c.Upload(ctx, bytes.NewReader(f.car), false)
	if err != nil || added.CID != f.root || added.Blocks < 6 || added.Bytes != int64(len(f.car)) {
		t.Fatalf("Upload = %+v, %v", added, err)
	}
	if diff := cmp.Diff([]string{"user/" + f.root.String()}, e.pins()); diff != "" {
		t.Errorf("pins (-want +got):\n%s", diff)
	}
	if _, err := c.GC(ctx); err != nil {
		t.Fatal(err)
	}
	if got := download(t, c, f.root, client.FormatCAR); !bytes.Equal(got, f.car) {
		t.Errorf("the CAR changed: %d bytes, sent were %d", len(got), len(f.car))
	}
	if got := download(t, c, f.big, client.FormatRaw); !bytes.Equal(got, f.data) {
		t.Errorf("the file has %d bytes, want %d", len(got), len(f.data))
	}
	if diff := cmp.Diff([]string{"a/", "a/big 3145728", "a/small 5", "top 3"}, tarNames(t, download(t, c, f.root, client.FormatTar))); diff != "" {
		t.Errorf("tar (-want +got):\n%s", diff)
	}

	l, err := c.List(ctx, "ipfs://"+f.root.String()+"/a")
	if err != nil || !l.Dir || len(l.Entries) != 2 || l.Entries[0].Name != "big" || l.Entries[0].Size != 3<<20 || l.Entries[0].CID != f.big {
		t.Errorf("List = %+v, %v", l, err)
	}
	if l, err = c.List(ctx, f.root.String()+"/top"); err != nil || l.Dir || l.Size != 3 {
		t.Errorf("List of a file = %+v, %v", l, err)
	}
	if big, err := c.Resolve(ctx, "/ipfs/"+f.root.String()+"/a/big"); err != nil || big != f.big {
		t.Errorf("Resolve = %v, %v, want %v", big, err, f.big)
	}
	for path, kind := range map[string]jobspec.Kind{
		f.root.String() + "/nothing": jobspec.KindNotFound, f.root.String() + "/a/../top": jobspec.KindSpec, "": jobspec.KindSpec,
		"bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy/x": jobspec.KindFetchTimeout,
	} {
		if _, err := c.Resolve(ctx, path); !isKind(err, kind) {
			t.Errorf("Resolve(%q) = %v, want %s", path, err, kind)
		}
	}
}

func download(t *testing.T, c *client.Client, root jobspec.CID, f client.Format) []byte {
	t.Helper()
	body, err := c.Download(t.Context(), root, f)
	if err != nil {
		t.Fatalf("Download as %s: %v", f, err)
	}
	defer body.Close()
	b, err := io.ReadAll(body)
	if err != nil {
		t.Fatalf("Download as %s: %v", f, err)
	}
	return b
}

func tarNames(t *testing.T, b []byte) (names []string) {
	t.Helper()
	r := tar.NewReader(bytes.NewReader(b))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(h.Name, "./")
		if h.Typeflag == tar.TypeReg {
			name = fmt.Sprint(name, " ", h.Size)
		}
		if name != "" {
			names = append(names, name)
		}
	}
}

// failing gives blocks until it has given enough of them.
type failing struct {
	ipfs.Node
	left int
}

func (f *failing) Get(ctx context.Context, c jobspec.CID) ([]byte, error) {
	if f.left--; f.left < 0 {
		return nil, jobspec.KindBlockHash.Errorf("block %s is damaged", c)
	}
	return f.Node.Get(ctx, c)
}

func TestDownloadFails(t *testing.T) {
	node := &failing{}
	e, f := start(t, func(c *api.Config) { node.Node = c.IPFS; c.IPFS = node }), newFixture(t)
	c := e.client()
	if _, err := c.Upload(t.Context(), bytes.NewReader(f.car), false); err != nil {
		t.Fatal(err)
	}
	for _, format := range []client.Format{client.FormatCAR, client.FormatTar} {
		for name, blocks := range map[string]int{"first block": 0, "before the answer began": 2} {
			node.left = blocks
			if body, err := c.Download(t.Context(), f.root, format); !isKind(err, jobspec.KindBlockHash) {
				if err == nil {
					_ = body.Close()
				}
				t.Errorf("%s: Download as %s = %v, want E_BLOCK_HASH", name, format, err)
			}
		}
		node.left = 4
		body, err := c.Download(t.Context(), f.root, format)
		if err != nil {
			t.Fatalf("Download as %s = %v, want a stream that is cut", format, err)
		}
		if n, err := io.Copy(io.Discard, body); !errors.Is(err, io.ErrUnexpectedEOF) || n < 1<<20 {
			t.Errorf("Download as %s ended after %d bytes with %v, want io.ErrUnexpectedEOF", format, n, err)
		}
		_ = body.Close()
	}
	node.left = 1 << 20
	if got := download(t, c, f.root, client.FormatCAR); !bytes.Equal(got, f.car) { // control
		t.Error("the CAR changed")
	}
}

func TestDownloadRefused(t *testing.T) {
	e, f := start(t), newFixture(t)
	if _, err := e.client().Upload(t.Context(), bytes.NewReader(f.car), false); err != nil {
		t.Fatal(err)
	}
	dag := "/v1/dag/" + f.root.String()
	e.askSocket("GET", dag+"?format=zip", "").want(t, 400, "E_SPEC")
	e.askSocket("GET", dag+"?format=raw", "").want(t, 422, "E_UNIXFS")
	e.askSocket("GET", "/v1/dag/nonsense", "").want(t, 400, "E_SPEC")
	e.askSocket("GET", "/v1/dag/bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy", "").want(t, 404, "E_FETCH_TIMEOUT")
	r := e.askSocket("GET", dag, "")
	r.want(t, http.StatusOK, "")
	if cd := r.Header.Get("Content-Disposition"); cd != `attachment; filename="`+f.root.String()+`.car"` ||
		r.Header.Get("X-Content-Type-Options") != "nosniff" || r.Header.Get("Content-Type") != "application/vnd.ipld.car" {
		t.Errorf("headers = %v", r.Header)
	}
}
