package api_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/internal/refusal"
	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/ipfs/embedded"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The tokens of two tenants and of the node's own user.
const (
	alice = "secret-of-alice"
	bob   = "secret-of-bob"
	admin = "secret-of-the-node" // the token file of the node's own user
)

// env is a served API with its fakes.
type env struct {
	t      *testing.T
	svc    *service
	ipfs   *embedded.Node
	api    *api.API
	socket string // path
	addr   string // 127.0.0.1:port
	log    *testenv.Log
	stop   func() error // ends Serve and returns its error; may be called twice
}

// start serves an API on both listeners until the test ends.
func start(t *testing.T, change ...func(*api.Config)) *env {
	t.Helper()
	dir := t.TempDir()
	node, err := embedded.Open(t.Context(), embedded.Config{Dir: filepath.Join(dir, "ipfs")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = node.Close() })
	e := &env{t: t, svc: newService(), ipfs: node, socket: filepath.Join(dir, "api.sock"), log: &testenv.Log{}}
	cfg := api.Config{
		Service: e.svc, IPFS: node, Version: "test", Tokens: newTokens(),
		Logger: slog.New(slog.NewTextHandler(e.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, c := range change {
		c(&cfg)
	}
	e.api = api.New(cfg)
	unix, err := api.ListenUnix(e.socket)
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e.addr = tcp.Addr().String()
	e.serve(unix, tcp)
	return e
}

// again starts the API of a next process over what the last one left.
func (e *env) again() {
	e.t.Helper()
	l, err := api.ListenUnix(e.socket)
	if err != nil {
		e.t.Fatal(err)
	}
	e.api = api.New(api.Config{Service: e.svc, IPFS: e.ipfs})
	e.serve(l, nil)
	if _, err := e.client().Node(e.t.Context()); err != nil {
		e.t.Fatal(err)
	}
}

func (e *env) serve(unix, tcp net.Listener) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(e.t.Context()))
	done := make(chan error, 1) // one send
	var wg sync.WaitGroup
	wg.Go(func() { done <- e.api.Serve(ctx, unix, tcp) })
	e.stop = sync.OnceValue(func() error {
		cancel()
		defer wg.Wait()
		select {
		case err := <-done:
			return err
		case <-time.After(time.Minute):
			e.t.Error("Serve did not return within a minute")
			return nil
		}
	})
	e.t.Cleanup(func() {
		if err := e.stop(); err != nil {
			e.t.Errorf("Serve() = %v", err)
		}
	})
}

// in returns e for a subtest.
func (e *env) in(t *testing.T) *env {
	sub := *e
	sub.t = t
	return &sub
}

// client returns a client over the socket.
func (e *env) client(opts ...client.Option) *client.Client {
	return e.dial("unix://"+e.socket, opts...)
}

func (e *env) dial(addr string, opts ...client.Option) *client.Client {
	e.t.Helper()
	c, err := client.New(addr, opts...)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(c.Close)
	return c
}

// reply is an answer, wholly read.
type reply struct {
	*http.Response
	body    []byte
	problem wire.Problem // of status 400 and above
}

// ask sends one request to the port. headers are "Name: value".
func (e *env) ask(method, path, body string, headers ...string) reply {
	e.t.Helper()
	return e.send(http.DefaultTransport.(*http.Transport).Clone(), "http://"+e.addr, method, path, body, headers)
}

// askSocket is ask over the socket.
func (e *env) askSocket(method, path, body string, headers ...string) reply {
	e.t.Helper()
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", e.socket)
	}}
	return e.send(tr, "http://localhost", method, path, body, headers)
}

func (e *env) send(tr *http.Transport, base, method, path, body string, headers []string) reply {
	e.t.Helper()
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(e.t.Context(), method, base+path, strings.NewReader(body))
	if err != nil {
		e.t.Fatal(err)
	}
	for _, h := range headers {
		k, v, _ := strings.Cut(h, ": ")
		req.Header.Add(k, v)
		if k == "Host" {
			req.Host = v
		}
	}
	resp, err := (&http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}).Do(req)
	if err != nil {
		e.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		e.t.Fatalf("%s %s: %v", method, path, err)
	}
	r := reply{Response: resp, body: b}
	if r.StatusCode >= 300 {
		e.checkProblem(&r)
	}
	return r
}

// checkProblem holds every refusal to the form that docs/api.md promises.
func (e *env) checkProblem(r *reply) {
	e.t.Helper()
	if ct := r.Header.Get("Content-Type"); ct != "application/problem+json" {
		e.t.Errorf("status %d: Content-Type = %q, want application/problem+json; body %q", r.StatusCode, ct, r.body)
		return
	}
	if err := json.Unmarshal(r.body, &r.problem); err != nil {
		e.t.Fatalf("problem %q: %v", r.body, err)
	}
	if p := r.problem; p.Status != r.StatusCode || p.Kind == "" || p.Detail == "" || p.Title == "" {
		e.t.Errorf("problem of status %d is incomplete: %s", r.StatusCode, r.body)
	}
}

func bearer(secret string) string { return "Authorization: Bearer " + secret }

// want fails unless r has the status and, for a refusal, the kind.
func (r reply) want(t *testing.T, status int, kind string) {
	t.Helper()
	if r.StatusCode != status || string(r.problem.Kind) != kind || kind != "" && !refusal.Is(t, r.problem.Kind.Error(), jobspec.Kind(kind)) {
		t.Errorf("%s %s = %d %q, want %d %q; body %s", r.Request.Method, r.Request.URL, r.StatusCode, r.problem.Kind, status, kind, r.body)
	}
}

// eventually waits until ok, looking each time that tick fires.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(2 * time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}
