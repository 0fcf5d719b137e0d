// Package proxy is the only way out of a container: an HTTP proxy on a unix
// socket of its own for each attempt, which reaches exactly the host:port
// pairs that the job was granted. CONNECT carries TLS and any other TCP;
// requests for http:// URLs are forwarded.
//
//	p, err := proxy.Open(dir, spec.Endpoints(), proxy.Config{Logger: log})
//	// ... dir mounted read-only at guest.NetDir ...
//	defer p.Close()       // ends every connection
//	n := p.Usage().In     // bytes that came from outside
//
// Invariants: a name is granted, never an address that somebody gives it: what
// it resolves to is checked and then dialled as it was checked, so that a
// second answer of a name server has no effect. Private, loopback, link-local
// and other addresses that are not public are refused unless Config names
// them, and so are this machine's own. A TLS hello for another name than the
// granted one ends its connection.
//
// Where Config.Upstream leads through another proxy, that proxy resolves names.
// Addresses are then checked only as far as names resolve here too; a name that
// only the upstream knows is left to its judgement.
//
// docs/adr/0010-the-way-out-is-a-socket.md says why it is a socket.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipdc/ipdc/internal/mountsock"
	"github.com/ipdc/ipdc/jobspec"
)

// Socket is the name of the socket in the directory given to Open.
const Socket = "proxy.sock"

// maxHeader bounds the headers of a request and of a response, in bytes.
const maxHeader = 32 << 10

// Config says what proxies have in common. Its zero value is the strictest.
type Config struct {
	// AllowPrivate are networks whose addresses may be reached although they
	// are not public. Default none.
	AllowPrivate []netip.Prefix
	// Upstream returns the proxy that leads to a URL, or nil for none. Schemes
	// http and https; a user name and password are sent. Default none.
	Upstream func(*url.URL) (*url.URL, error)
	// Resolve returns the addresses of a name. Default the system's resolver.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	// Conns is how many connections one attempt may have at a time; more of
	// them wait. Default 64.
	Conns int
	// Bytes is what one attempt may move, both ways together. Default 10 GiB.
	Bytes jobspec.Bytes
	// Before is what the attempt moved in earlier processes. It counts towards
	// Bytes. Default nothing.
	Before Usage
	// Idle ends a connection on which nothing moves. Default 5 min.
	Idle time.Duration
	// Logger takes refusals. Default none.
	Logger *slog.Logger
}

// Usage is what an attempt moved through its proxies.
type Usage struct {
	In, Out jobspec.Bytes // from and to the outside
	Refused int64         // requests
}

// Proxy is the proxy of one attempt.
type Proxy struct {
	cfg     Config
	log     *slog.Logger
	path    string
	grants  map[jobspec.Endpoint]bool
	server  *http.Server
	forward *httputil.ReverseProxy

	ctx    context.Context // of all connections
	cancel context.CancelFunc
	work   sync.WaitGroup // the server and every request

	mu     sync.Mutex
	closed bool

	in, out, refused atomic.Int64
}

// Open listens on dir/[Socket] for requests to grants. It makes dir when it is
// missing, and replaces a socket that an earlier process left, so that a
// container that has dir mounted finds the new one.
func Open(dir string, grants []jobspec.Endpoint, cfg Config) (*Proxy, error) {
	l, err := mountsock.Listen(dir, Socket)
	if err != nil {
		return nil, fmt.Errorf("open network proxy: %w", err)
	}
	p := newProxy(grants, cfg)
	p.path = filepath.Join(dir, Socket)
	p.work.Go(func() {
		_ = p.server.Serve(&limited{Listener: l, slots: make(chan struct{}, p.cfg.Conns), done: p.ctx.Done()}) // ends with Close
	})
	return p, nil
}

func newProxy(grants []jobspec.Endpoint, cfg Config) *Proxy {
	if cfg.Resolve == nil {
		cfg.Resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	if cfg.Conns <= 0 {
		cfg.Conns = 64
	}
	if cfg.Bytes <= 0 {
		cfg.Bytes = 10 * jobspec.GiB
	}
	if cfg.Idle <= 0 {
		cfg.Idle = 5 * time.Minute
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	p := &Proxy{cfg: cfg, log: cfg.Logger, grants: map[jobspec.Endpoint]bool{}}
	for _, g := range grants {
		p.grants[g] = true
	}
	p.in.Store(int64(cfg.Before.In))
	p.out.Store(int64(cfg.Before.Out))
	p.refused.Store(cfg.Before.Refused)
	p.ctx, p.cancel = context.WithCancel(context.Background())
	quiet := log.New(io.Discard, "", 0) // a program must not fill the node's log
	p.server = &http.Server{
		Handler: p, BaseContext: func(net.Listener) context.Context { return p.ctx },
		ReadHeaderTimeout: 30 * time.Second, IdleTimeout: cfg.Idle, MaxHeaderBytes: maxHeader, ErrorLog: quiet,
	}
	p.forward = &httputil.ReverseProxy{
		Rewrite:       func(*httputil.ProxyRequest) {}, // the URL is whole; hop-by-hop headers are dropped
		Transport:     p.transport(),
		FlushInterval: -1, ErrorLog: quiet,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) { p.refuse(w, r, err) },
	}
	return p
}

// Usage returns what moved so far, with what Config says of before.
func (p *Proxy) Usage() Usage {
	return Usage{In: jobspec.Bytes(p.in.Load()), Out: jobspec.Bytes(p.out.Load()), Refused: p.refused.Load()}
}

// Close ends all connections and removes the socket. Calling it twice is safe.
func (p *Proxy) Close() error {
	p.mu.Lock()
	first := !p.closed
	p.closed = true
	p.mu.Unlock()
	if !first {
		return nil
	}
	p.cancel()
	err := p.server.Close()
	p.work.Wait()
	if rmErr := os.Remove(p.path); !errors.Is(rmErr, os.ErrNotExist) {
		err = errors.Join(err, rmErr)
	}
	return err
}

// enter counts a request until its leave, or says that the proxy is closed.
func (p *Proxy) enter() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.work.Add(1)
	}
	return !p.closed
}
