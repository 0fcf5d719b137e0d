package testenv

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Fault is what an [EngineProxy] does to a call. The zero value passes it on.
type Fault struct {
	Hang   bool   // take it and never answer
	Lose   bool   // have the engine do it, and cut the connection instead of answering
	Status int    // answer this, with Text, and ask nobody; 0 = ask the engine
	Text   string //
	Short  int    // of the answer's body pass on so many bytes; 0 = all
	Clean  bool   // after Short bytes end the answer as if it were whole; else cut the connection
	Wedge  bool   // after Short bytes be silent
}

// EngineProxy stands between a node and its Docker engine and does to calls
// what a broken engine or a broken connection does.
//
//	p := testenv.NewEngineProxy(t, testenv.Docker(t))
//	p.Break(func(call string) testenv.Fault { ... }) // "POST /containers/create"
//	ex, err := docker.Open(ctx, docker.Config{Host: p.Host})
type EngineProxy struct {
	Host string // "unix://..."

	t       testing.TB
	path    string
	forward *httputil.ReverseProxy
	engine  *http.Transport

	mu     sync.Mutex
	rule   func(call string) Fault
	counts map[string]int
	server *http.Server  // nil while the socket is away
	heal   chan struct{} // closed by Break and the end of the test: what hangs is cut
	served sync.WaitGroup
}

// NewEngineProxy listens before the engine at host, until the end of the test.
func NewEngineProxy(t testing.TB, host string) *EngineProxy {
	t.Helper()
	dir, err := os.MkdirTemp("", "proxy-") // short, for the socket in it
	if err != nil {
		t.Fatal(err)
	}
	p := &EngineProxy{t: t, path: filepath.Join(dir, "s"), counts: map[string]int{}, heal: make(chan struct{})}
	p.Host = "unix://" + p.path
	p.engine = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", strings.TrimPrefix(host, "unix://"))
	}}
	p.forward = &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: "engine"}) },
		Transport:     p.engine,
		FlushInterval: -1,
		ErrorLog:      log.New(io.Discard, "", 0),
		ErrorHandler:  func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	p.Appear()
	t.Cleanup(func() {
		p.Break(nil)
		p.Vanish()
		p.engine.CloseIdleConnections()
		_ = os.RemoveAll(dir)
	})
	return p
}

// Appear listens, after Vanish again.
func (p *EngineProxy) Appear() {
	p.t.Helper()
	_ = os.Remove(p.path) // what a test has put there
	l, err := net.Listen("unix", p.path)
	if err != nil {
		p.t.Fatal(err)
	}
	server := &http.Server{Handler: p, ErrorLog: log.New(io.Discard, "", 0)}
	p.mu.Lock()
	p.server = server
	p.mu.Unlock()
	p.served.Go(func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			p.t.Errorf("engine proxy: %v", err)
		}
	})
}

// Vanish cuts all connections and removes the socket, as an engine's end does.
func (p *EngineProxy) Vanish() {
	p.mu.Lock()
	server := p.server
	p.server = nil
	p.mu.Unlock()
	if server != nil {
		_ = server.Close()
		p.served.Wait()
	}
}

// Break has rule decide from now on what is done to a call; nil passes all on.
// What hangs is cut.
func (p *EngineProxy) Break(rule func(call string) Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rule = rule
	close(p.heal)
	p.heal = make(chan struct{})
}

// Calls returns how many calls have begun with prefix.
func (p *EngineProxy) Calls(prefix string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for call, k := range p.counts {
		if strings.HasPrefix(call, prefix) {
			n += k
		}
	}
	return n
}

// ServeHTTP implements [http.Handler].
func (p *EngineProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	if strings.HasPrefix(path, "/v1.") {
		path = path[strings.Index(path[1:], "/")+1:]
	}
	call := r.Method + " " + path
	p.mu.Lock()
	p.counts[call]++
	rule, heal := p.rule, p.heal
	p.mu.Unlock()
	var f Fault
	if rule != nil {
		f = rule(call)
	}
	switch {
	case f.Hang:
		wait(r.Context(), heal)
	case f.Lose:
		p.forward.ServeHTTP(&unheard{header: http.Header{}}, r.WithContext(context.WithoutCancel(r.Context())))
		panic(http.ErrAbortHandler)
	case f.Status != 0:
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(f.Status)
		_ = json.NewEncoder(w).Encode(map[string]string{"message": f.Text})
	case f.Short > 0 || f.Wedge:
		ctx, cut := context.WithCancel(r.Context())
		defer cut()
		s := &short{ResponseWriter: w, left: f.Short, over: func() {
			if f.Wedge {
				wait(r.Context(), heal)
			}
			cut()
		}}
		s.serve(p.forward, r.WithContext(ctx))
		if !f.Clean || s.left > 0 {
			panic(http.ErrAbortHandler)
		}
	default:
		p.forward.ServeHTTP(w, r)
	}
}

// wait blocks until the caller has gone or the proxy is mended, and cuts the
// connection.
func wait(ctx context.Context, heal <-chan struct{}) {
	select {
	case <-ctx.Done():
	case <-heal:
	}
	panic(http.ErrAbortHandler)
}

// unheard takes an answer that nobody gets.
type unheard struct{ header http.Header }

func (u *unheard) Header() http.Header         { return u.header }
func (u *unheard) Write(b []byte) (int, error) { return len(b), nil }
func (u *unheard) WriteHeader(int)             {}

// short passes on the first bytes of an answer.
type short struct {
	http.ResponseWriter
	left int
	over func() // all of them have been passed on
}

// errShort ends the copying of an answer.
var errShort = errors.New("cut short")

func (s *short) serve(h http.Handler, r *http.Request) {
	defer func() {
		if v := recover(); v != nil && v != http.ErrAbortHandler {
			panic(v)
		}
	}()
	h.ServeHTTP(s, r)
}

// Write implements [io.Writer].
func (s *short) Write(b []byte) (int, error) {
	n, err := s.ResponseWriter.Write(b[:min(len(b), s.left)])
	s.left -= n
	if err == nil && s.left == 0 {
		_ = http.NewResponseController(s.ResponseWriter).Flush()
		s.over()
		err = errShort
	}
	return n, err
}

// Unwrap lets the answer be flushed.
func (s *short) Unwrap() http.ResponseWriter { return s.ResponseWriter }
