package docker

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ipdc/ipdc/internal/publicaddr"
	"github.com/ipdc/ipdc/jobspec"
)

// maxAnswer bounds every answer of a registry but blobs, whose sizes the
// manifest bounds.
const maxAnswer = 4 << 20

// minPulled is what must come while a pull waits for as long as its stall
// time: a drip of single bytes is a stall too.
const minPulled = 64 << 10

// gate is how a pull talks to a registry, which may be hostile. What the
// registry answers with (redirects, token servers, foreign layers) leads only
// to configured registries and, by HTTPS, to public addresses.
type gate struct {
	inner      *http.Transport
	registries []string // "host" or "host:port"
	pace       *pace
}

func newGate(registries []string, p *pace) *gate {
	g := &gate{registries: registries, pace: p}
	g.inner = &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: g.dial,
		ForceAttemptHTTP2: true, TLSHandshakeTimeout: 10 * time.Second, MaxResponseHeaderBytes: 64 << 10,
		DisableCompression: true, IdleConnTimeout: 10 * time.Second,
	}
	return g
}

// RoundTrip implements http.RoundTripper.
func (g *gate) RoundTrip(req *http.Request) (*http.Response, error) {
	if why := g.refuses(req.URL); why != "" {
		return nil, jobspec.Failure{
			Kind: jobspec.KindPolicy, Detail: fmt.Sprintf("the registry leads to %s://%s, %s", req.URL.Scheme, req.URL.Host, why),
			Hint: "if that is right, add the host to the node's setting registries",
		}.Error()
	}
	stop := g.pace.wait()
	resp, err := g.inner.RoundTrip(req)
	stop(0)
	if err != nil {
		return nil, err
	}
	resp.Body = &pacedBody{ReadCloser: resp.Body, pace: g.pace}
	if !forBlob(req) {
		resp.Body = &smallBody{ReadCloser: resp.Body, left: maxAnswer}
	}
	return resp, nil
}

// forBlob reports whether a blob was asked for in the first place.
func forBlob(req *http.Request) bool {
	for req.Response != nil && req.Response.Request != nil { // it follows a redirect
		req = req.Response.Request
	}
	return strings.Contains(req.URL.Path, "/blobs/")
}

func (g *gate) refuses(u *url.URL) string {
	host := u.Hostname()
	addr, err := netip.ParseAddr(host)
	switch {
	case u.Scheme == "http" && host != "localhost" && !(err == nil && addr.IsLoopback()):
		return "which is not HTTPS"
	case g.knows(u.Host):
		return ""
	case u.Scheme == "http":
		return "which is not HTTPS"
	case err == nil && publicaddr.Refused(addr) != "":
		return "which is " + publicaddr.Refused(addr)
	}
	return ""
}

// knows reports whether host, with or without a port, is a configured
// registry.
func (g *gate) knows(host string) bool {
	return slices.Contains(g.registries, host) || slices.Contains(g.registries, strings.TrimSuffix(host, ":443"))
}

// dial connects to public addresses, configured registries and the proxy that
// the environment names.
func (g *gate) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: 10 * time.Second}
	if !g.knows(addr) && !isProxy(addr) {
		d.ControlContext = func(_ context.Context, _, addr string, _ syscall.RawConn) error {
			ap, err := netip.ParseAddrPort(addr)
			if err != nil {
				return err
			}
			if why := publicaddr.Refused(ap.Addr()); why != "" {
				return jobspec.KindPolicy.Errorf("the registry leads to %s, which is %s", addr, why)
			}
			return nil
		}
	}
	return d.DialContext(ctx, network, addr)
}

// isProxy reports whether addr is where requests are sent by HTTPS_PROXY or
// HTTP_PROXY.
func isProxy(addr string) bool {
	for _, scheme := range []string{"https", "http"} {
		u, err := http.ProxyFromEnvironment(&http.Request{URL: &url.URL{Scheme: scheme, Host: "registry.invalid"}})
		if err != nil || u == nil {
			continue
		}
		port := u.Port()
		if port == "" {
			port = map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}[u.Scheme]
		}
		if net.JoinHostPort(u.Hostname(), port) == addr {
			return true
		}
	}
	return false
}

// pace watches how fast a pull goes on and ends it when nothing comes. Only
// time that is spent waiting for the registry counts, not for the engine.
type pace struct {
	stall    time.Duration
	end      context.CancelCauseFunc // of the pull
	progress func(n int64)           // more bytes have come

	mu     sync.Mutex
	waited time.Duration // since the last minPulled bytes
	got    int64         // in that time
}

// wait is called before something is asked of the registry, and what it
// returns after n bytes have come.
func (p *pace) wait() func(n int) {
	p.mu.Lock()
	left := p.stall - p.waited
	p.mu.Unlock()
	begin := time.Now()
	timer := time.AfterFunc(left, p.stalled)
	return func(n int) {
		timer.Stop()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.waited += time.Since(begin)
		if p.got += int64(n); p.got >= minPulled {
			p.waited, p.got = 0, 0
		}
	}
}

// rest begins to count anew, as something is whole.
func (p *pace) rest() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waited, p.got = 0, 0
}

func (p *pace) stalled() {
	p.end(jobspec.Failure{
		Kind: jobspec.KindPullStall, Detail: fmt.Sprintf("less than %d KiB came from the registry in %s of waiting", minPulled>>10, p.stall),
		Hint: "try again later, or pull the image by hand (docker pull): what the engine has is used as it is",
	}.Error())
}

type pacedBody struct {
	io.ReadCloser
	pace *pace
}

// Read reads from the registry.
func (b *pacedBody) Read(p []byte) (int, error) {
	stop := b.pace.wait()
	n, err := b.ReadCloser.Read(p)
	stop(n)
	b.pace.progress(int64(n))
	return n, err
}

// Close ends the reading.
func (b *pacedBody) Close() error {
	b.pace.rest()
	return b.ReadCloser.Close()
}

// smallBody fails when more comes than any manifest needs.
type smallBody struct {
	io.ReadCloser
	left int64
}

// Read reads from the registry.
func (b *smallBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, jobspec.KindLimitBytes.Errorf("the registry answers with a manifest or token of more than %d MiB", maxAnswer>>20)
	}
	return n, err
}
