package api_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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

func TestUploadRootLast(t *testing.T) {
	e := start(t)
	pr, pw := io.Pipe()
	var want jobspec.CID
	goTest(t, func() {
		var err error
		want, _, err = pack.File(t.Context(), car.NewWriter(pw), strings.NewReader(strings.Repeat("x", 3<<20)))
		_ = pw.CloseWithError(err)
	})
	added, err := e.client().Upload(t.Context(), pr, true)
	if err != nil || added.CID != want {
		t.Errorf("Upload = %+v, %v, want %s", added, err, want)
	}
}

func TestUploadRefused(t *testing.T) {
	e, f := start(t, func(c *api.Config) { c.MaxUpload = 4 << 20 }), newFixture(t)
	flipped := bytes.Clone(f.car)
	flipped[len(flipped)-1] ^= 1
	for name, c := range map[string]struct {
		body   []byte
		query  string
		header string
		status int
		kind   string
	}{
		"not a CAR":    {[]byte("hello world"), "", carType, 422, "E_CAR_FORMAT"},
		"empty":        {nil, "", carType, 422, "E_CAR_FORMAT"},
		"flipped bit":  {flipped, "", carType, 422, "E_BLOCK_HASH"},
		"cut":          {f.car[:len(f.car)-1], "", carType, 422, "E_CAR_FORMAT"},
		"too long":     {bytes.Repeat(f.car, 2), "", carType, 413, "E_LIMIT_BYTES"},
		"JSON":         {f.car, "", asJSON, 415, "E_SPEC"},
		"no type":      {f.car, "", "X: y", 415, "E_SPEC"},
		"unknown root": {f.car, "?root=middle", carType, 400, "E_SPEC"},
	} {
		t.Run(name, func(t *testing.T) {
			e := e.in(t)
			r := e.askSocket("POST", "/v1/dag"+c.query, string(c.body), c.header)
			r.want(t, c.status, c.kind)
			if got := e.pins(); len(got) != 0 {
				t.Errorf("pins are left: %q", got)
			}
		})
	}
	t.Run("refused in the middle of a long stream", func(t *testing.T) {
		endless := io.MultiReader(bytes.NewReader(f.car), zeros{})
		_, err := e.client().Upload(t.Context(), io.LimitReader(endless, 1<<40), false)
		if !isKind(err, jobspec.KindCARFormat) && !isKind(err, jobspec.KindLimitBytes) {
			t.Errorf("Upload = %v, want the node's reason and no broken pipe", err)
		}
	})
	e.askSocket("POST", "/v1/dag", string(f.car), carType).want(t, 200, "") // control
}

const carType = "Content-Type: application/vnd.ipld.car"

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestH21CutUploads(t *testing.T) {
	e, f := start(t), newFixture(t)
	before, err := e.ipfs.Stat(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		at := i * (len(f.car) - 1) / 49
		c, err := net.Dial("unix", e.socket)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "POST /v1/dag HTTP/1.1\r\nHost: localhost\r\n%s\r\nContent-Length: %d\r\n\r\n", carType, len(f.car))
		if _, err := c.Write(f.car[:at]); err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
	}
	e.stop() // returns when no handler runs
	if got := e.pins(); len(got) != 0 {
		t.Errorf("H21: pins are left: %q", got)
	}
	if _, err := e.ipfs.GC(t.Context()); err != nil {
		t.Fatal(err)
	}
	after, err := e.ipfs.Stat(t.Context())
	if err != nil || after != before {
		t.Errorf("H21: %+v blocks before, %+v after, %v", before, after, err)
	}
}

func TestH21StalledUpload(t *testing.T) {
	e, f := start(t, func(c *api.Config) { c.UploadStall = 50 * time.Millisecond }), newFixture(t)
	pr, pw := io.Pipe()
	goTest(t, func() {
		_, _ = pw.Write(f.car[:1000])
		<-t.Context().Done()
		_ = pw.Close()
	})
	_, err := e.client().Upload(t.Context(), pr, false)
	if !isKind(err, jobspec.KindFetchTimeout) {
		t.Errorf("Upload that stalls = %v, want E_FETCH_TIMEOUT", err)
	}
	if got := e.pins(); len(got) != 0 {
		t.Errorf("pins are left: %q", got)
	}
}

func TestH21CrashBetweenPins(t *testing.T) {
	e, f := start(t), newFixture(t)
	if _, err := e.client().Upload(t.Context(), bytes.NewReader(f.car), false); err != nil {
		t.Fatal(err)
	}
	if err := e.stop(); err != nil {
		t.Fatal(err)
	}
	if err := e.ipfs.Pin(t.Context(), "upload/left by a crash", f.root); err != nil {
		t.Fatal(err)
	}
	l, err := api.ListenUnix(e.socket)
	if err != nil {
		t.Fatal(err)
	}
	e.api = api.New(api.Config{Service: e.svc, IPFS: e.ipfs})
	e.serve(l, nil)
	if _, err := e.client().Node(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"user/" + f.root.String()}, e.pins()); diff != "" {
		t.Errorf("pins after a restart (-want +got):\n%s", diff)
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
		for name, blocks := range map[string]int{"first block": 0, "before the answer began": 1} {
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
	e.askSocket("GET", "/v1/dag/bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy", "").want(t, 504, "E_FETCH_TIMEOUT")
	r := e.askSocket("GET", dag, "")
	r.want(t, http.StatusOK, "")
	if cd := r.Header.Get("Content-Disposition"); cd != `attachment; filename="`+f.root.String()+`.car"` ||
		r.Header.Get("X-Content-Type-Options") != "nosniff" || r.Header.Get("Content-Type") != "application/vnd.ipld.car" {
		t.Errorf("headers = %v", r.Header)
	}
}
