package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/jobspec"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve answers on a unix socket with h and returns a client of it.
func serve(t *testing.T, h http.HandlerFunc, opts ...client.Option) *client.Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "api.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: h}}
	s.Start()
	t.Cleanup(s.Close)
	return dial(t, "unix://"+path, opts...)
}

func dial(t *testing.T, addr string, opts ...client.Option) *client.Client {
	t.Helper()
	c, err := client.New(addr, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func problem(w http.ResponseWriter, status int, kind, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"title":"x","status":%d,"kind":%q,"detail":%q,"where":"here","hint":"do this","errors":[{"path":"a.b","detail":"bad","hint":"fix"}]}`,
		status, kind, detail)
}

func TestNewAddresses(t *testing.T) {
	for _, addr := range []string{
		"unix:///run/api.sock", "http://127.0.0.1:80", "http://localhost:1/", "http://[::1]:80", "http://127.3.2.1:80",
	} {
		if _, err := client.New(addr); err != nil {
			t.Errorf("New(%q) = %v", addr, err)
		}
	}
	for _, addr := range []string{
		"", "x", "unix://", "unix://relative.sock", "http://", "https://127.0.0.1:80", "http://10.0.0.1:80", "http://evil.example",
		"http://127.0.0.1.evil.example:80", "http://user:pass@127.0.0.1:80", "http://127.0.0.1:80/v1", "http://127.0.0.1:80?token=x",
	} {
		if _, err := client.New(addr, client.WithToken("s")); err == nil {
			t.Errorf("New(%q) is accepted", addr)
		}
	}
}

func TestErrNoNode(t *testing.T) {
	const port = "127.0.0.1:1" // on which nobody listens
	stale := filepath.Join(t.TempDir(), "stale.sock")
	u, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	u.SetUnlinkOnClose(false)
	_ = u.Close()

	for _, addr := range []string{"http://" + port, "unix://" + stale, "unix:///nowhere/api.sock"} {
		c := dial(t, addr)
		begin := time.Now()
		for what, err := range map[string]error{
			"Node":   second(c.Node(t.Context())),
			"Wait":   second(c.Wait(t.Context(), "@last")),
			"Events": c.Events(t.Context(), "x", 0, true, nil),
			"Upload": second(c.Upload(t.Context(), strings.NewReader("car"), true)),
		} {
			if !errors.Is(err, client.ErrNoNode) || !strings.Contains(err.Error(), addr) {
				t.Errorf("%s at %s = %v, want ErrNoNode with the address", what, addr, err)
			}
		}
		if time.Since(begin) > 10*time.Second {
			t.Errorf("%s: finding no node took %s", addr, time.Since(begin))
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestError(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) { problem(w, 404, "E_NOT_FOUND", "no such job") })
	_, err := c.Job(t.Context(), "x")
	var e *client.Error
	var f *jobspec.FailureError
	if !errors.As(err, &e) || !errors.As(err, &f) || !errors.Is(err, jobspec.KindNotFound.Error()) {
		t.Fatalf("Job = %v, want an Error with its failure", err)
	}
	want := jobspec.Failure{Kind: jobspec.KindNotFound, Where: "here", Detail: "no such job", Hint: "do this"}
	if f.Failure != want || e.Failure() != want || e.Problem.Status != 404 {
		t.Errorf("failure = %+v, want %+v", f.Failure, want)
	}
	if got, want := err.Error(), "E_NOT_FOUND: here: no such job\n  a.b: bad (fix)"; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
	if errors.Is(err, client.ErrNoNode) {
		t.Error("a refusal is ErrNoNode")
	}
}

func TestForeignServer(t *testing.T) {
	leaked := false
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { leaked = true }))
	defer target.Close()
	for _, h := range []http.HandlerFunc{
		func(w http.ResponseWriter, r *http.Request) { http.Error(w, "<html>"+strings.Repeat("x", 1<<20), 502) },
		func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, target.URL, 302) },
		func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "not JSON") },
		func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "9")
			fmt.Fprint(w, "{}")
		},
	} {
		_, err := serve(t, h, client.WithToken("s")).Node(t.Context())
		if err == nil || len(err.Error()) > 1000 {
			t.Errorf("Node of a foreign server = %v", err)
		}
	}
	if leaked {
		t.Error("a redirect was followed")
	}
}

func TestTokenAndProxy(t *testing.T) {
	proxied := false
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { proxied = true }))
	defer proxy.Close()
	t.Setenv("HTTP_PROXY", proxy.URL)
	var got string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Get("Authorization") + " " + r.URL.RawQuery
		fmt.Fprint(w, "{}")
	}))
	defer s.Close()
	if _, err := dial(t, s.URL, client.WithToken("s3cret")).Node(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got != "Bearer s3cret " || proxied {
		t.Errorf("token = %q, proxied = %v", got, proxied)
	}
}

func TestDeadlineOfShortCalls(t *testing.T) {
	hang := func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	c := serve(t, hang, client.WithTimeout(20*time.Millisecond))
	if _, err := c.Node(t.Context()); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "20ms") {
		t.Errorf("Node of a node that hangs = %v, want a deadline of 20ms", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped by test")
	cancel(stopped)
	if _, err := c.GC(ctx); !errors.Is(err, stopped) {
		t.Errorf("GC with a cancelled context = %v, want its cause", err)
	}
}

func TestDownloadCut(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if got := r.URL.Path + "?" + r.URL.RawQuery; got != "/v1/dag/bafkqaaa?format=tar" {
			t.Errorf("request for %s", got)
		}
		_, _ = w.Write(make([]byte, 100<<10))
		panic(http.ErrAbortHandler)
	})
	root, err := jobspec.ParseCID("bafkqaaa")
	if err != nil {
		t.Fatal(err)
	}
	body, err := c.Download(t.Context(), root, client.FormatTar)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if _, err := io.Copy(io.Discard, body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("reading a stream that was cut = %v, want io.ErrUnexpectedEOF", err)
	}
}

func TestUploadReaderFails(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			t.Error("the node takes a cut upload for a whole one")
		}
	})
	broken := errors.New("disk on fire")
	r := io.MultiReader(strings.NewReader("begin"), errReader{broken})
	if _, err := c.Upload(t.Context(), r, true); !errors.Is(err, broken) {
		t.Errorf("Upload = %v, want the reader's error", err)
	}
}

type errReader struct{ err error }

func (e errReader) Read([]byte) (int, error) { return 0, e.err }
