package api_test

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipdc/ipdc/internal/durable"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/wire"
)

// goTest runs f and waits for it at the end of the test.
func goTest(t *testing.T, f func()) {
	var wg sync.WaitGroup
	wg.Go(f)
	t.Cleanup(wg.Wait)
}

func TestH05ConnectionCap(t *testing.T) {
	e := start(t, func(c *api.Config) { c.MaxConns = 8 })
	var open []net.Conn
	defer func() {
		for _, c := range open {
			_ = c.Close()
		}
	}()
	closed := 0
	for range 40 {
		c, err := net.Dial("tcp", e.addr)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	soon := time.Now().Add(5 * time.Second) // before the server gives up on idle ones
	for _, c := range open[8:] {
		_ = c.SetReadDeadline(soon)
		if _, err := c.Read(make([]byte, 1)); err != nil && !os.IsTimeout(err) {
			closed++
		}
	}
	if closed != 32 {
		t.Errorf("H05: %d of 32 connections over the cap were closed", closed)
	}
	// The node's own user is not shut out by the flood.
	e.askSocket("GET", "/v1/node", "").want(t, 200, "")
	for _, c := range open {
		_ = c.Close()
	}
	open = nil
	eventually(t, "the port takes requests again", func() bool {
		_, err := e.dial("http://" + e.addr).Node(t.Context())
		return isKind(err, jobspec.KindPolicy) // an answer: this client has no token
	})
}

func TestMaxHeaderBytes(t *testing.T) {
	e := start(t)
	c, err := net.Dial("tcp", e.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	goTest(t, func() {
		_, _ = c.Write([]byte("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("a", 1<<20)))
	})
	b := make([]byte, 32)
	if n, err := c.Read(b); err != nil || !strings.Contains(string(b[:n]), " 431 ") {
		t.Errorf("answer to a header of 1 MiB = %q, %v, want 431", b[:n], err)
	}
}

func TestStopNode(t *testing.T) {
	e := start(t)
	e.ask("POST", "/v1/node/stop", "", bearer(alice)).want(t, 403, "E_POLICY")
	if e.svc.shutdown != 0 {
		t.Error("a token stopped the node")
	}
	if err := e.client().StopNode(t.Context()); err != nil || e.svc.shutdown != 1 {
		t.Errorf("StopNode = %v, shutdowns = %d, want 1", err, e.svc.shutdown)
	}
	if g, err := e.client().GC(t.Context()); err != nil || g.Blocks != 3 || g.Bytes != 7 {
		t.Errorf("GC = %+v, %v", g, err)
	}
	if n, err := e.client().Node(t.Context()); err != nil || n.ID != "12D3KooWTest" {
		t.Errorf("Node = %+v, %v", n, err)
	}
}

func TestListenUnix(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "api.sock")
	listen := func() (net.Listener, error) { return api.ListenUnix(path) }
	l, err := listen()
	if err != nil {
		t.Fatal(err)
	}
	fi, err := os.Lstat(path)
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode of the socket = %v, %v, want 600", fi.Mode(), err)
	}
	if _, err := listen(); err == nil || !strings.Contains(err.Error(), "another node") {
		t.Errorf("ListenUnix on a live socket = %v", err)
	}
	// What a killed node leaves: a socket that nobody accepts on.
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "stale"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	_ = stale.Close()
	if err := os.Mkdir(filepath.Join(dir, ".ipdc-new-1"), 0o700); err != nil { // or one that it has yet to move
		t.Fatal(err)
	}
	path = filepath.Join(dir, "stale")
	l2, err := listen()
	if err != nil {
		t.Fatalf("ListenUnix over a stale socket = %v", err)
	}
	for range 2 {
		if err := l2.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	}
	_ = l.Close()
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("%d files are left after Close: %v", len(left), left)
	}
	// What cannot be removed, as it is none of ours, is in nobody's way.
	link := filepath.Join(dir, ".ipdc-new-2")
	if err := os.Symlink("nothing", link); err != nil {
		t.Fatal(err)
	}
	if err := durable.Sweep(dir); err == nil {
		t.Error("control: Sweep removes a link")
	}
	l3, err := listen()
	if err != nil {
		t.Fatalf("ListenUnix beside what cannot be removed = %v", err)
	}
	_ = l3.Close()
	path = filepath.Join(dir, "file")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listen(); err == nil {
		t.Error("ListenUnix replaced a file that is no socket")
	}
	path = filepath.Join(dir, strings.Repeat("x", 120))
	if _, err := listen(); err == nil || !strings.Contains(err.Error(), "107") {
		t.Errorf("ListenUnix(%d bytes) = %v, want the limit", len(path), err)
	}
}

func TestServeRefusesOpenListeners(t *testing.T) {
	e := start(t)
	path := filepath.Join(t.TempDir(), "open.sock")
	open, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := e.api.Serve(t.Context(), open, nil); err == nil || !strings.Contains(err.Error(), "666") {
		t.Errorf("Serve on a socket of mode 666 = %v", err)
	}
	wide, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := e.api.Serve(t.Context(), nil, wide); err == nil || !strings.Contains(err.Error(), "loopback") {
		t.Errorf("Serve on 0.0.0.0 = %v", err)
	}
}

// blockingService holds Node until it is released.
type blockingService struct {
	*service
	entered, release chan struct{}
}

func (b *blockingService) GC(ctx context.Context) (wire.Collected, error) {
	close(b.entered)
	<-b.release
	return b.service.GC(ctx)
}

func TestServeWaitsForRequests(t *testing.T) {
	b := &blockingService{entered: make(chan struct{}), release: make(chan struct{})}
	e := start(t, func(c *api.Config) { b.service = c.Service.(*service); c.Service = b; c.Grace = time.Minute })
	answered := make(chan error, 1)
	goTest(t, func() {
		_, err := e.client().GC(t.Context())
		answered <- err
	})
	<-b.entered
	goTest(t, func() { _ = e.stop() })
	eventually(t, "the socket takes nobody new", func() bool {
		c, err := net.Dial("unix", e.socket)
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	close(b.release)
	if err := <-answered; err != nil {
		t.Errorf("a request under way at the stop = %v, want its answer", err)
	}
}

func TestOpenAPI(t *testing.T) {
	e := start(t)
	r := e.ask("GET", "/openapi.json", "", bearer(alice))
	r.want(t, 200, "")
	var doc struct {
		OpenAPI    string                                `json:"openapi"`
		Paths      map[string]map[string]json.RawMessage `json:"paths"`
		Components struct {
			Schemas map[string]json.RawMessage `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(r.body, &doc); err != nil {
		t.Fatal(err)
	}
	if doc.OpenAPI != "3.1.0" {
		t.Errorf("openapi = %q", doc.OpenAPI)
	}
	for _, part := range strings.Split(string(r.body), `"#/components/schemas/`)[1:] {
		name, _, _ := strings.Cut(part, `"`)
		if _, ok := doc.Components.Schemas[name]; !ok {
			t.Errorf("schema %s is used and not defined", name)
		}
	}
	for _, secret := range []string{"ErrorModel", "ErrorDetail"} {
		if _, ok := doc.Components.Schemas[secret]; ok {
			t.Errorf("schema %s is of huma, not of this API", secret)
		}
	}
}
