package proxy_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/proxy"
)

// site is a site's own proxy. It knows names that nobody else does.
type site struct {
	known map[string]jobspec.Endpoint

	mu    sync.Mutex
	asked []string
	auth  string
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked, s.auth = append(s.asked, r.Method+" "+r.Host), r.Header.Get("Proxy-Authorization")
	to, ok := s.known[r.Host]
	s.mu.Unlock()
	if !ok {
		http.Error(w, "no such name", http.StatusBadGateway)
		return
	}
	out, err := net.Dial("tcp", to.String())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	// One write with what the server says first, as it may come in one packet.
	greeting := make([]byte, 64)
	n, _ := out.Read(greeting)
	_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nX-Site: 1\r\n\r\n"+string(greeting[:n]))
	go func() { _, _ = io.Copy(out, c); out.Close() }()
	_, _ = io.Copy(c, out)
	c.Close()
}

func (s *site) log() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.asked...)
}

// A site's own proxy is asked for granted names only, and never for an address
// that is not public.
func TestUpstream(t *testing.T) {
	good := serve(t, "127.0.0.1:0", "good")
	far := fmt.Sprintf("far.example:%d", good.Port)
	s := &site{known: map[string]jobspec.Endpoint{far: good, "inside.example:80": good, "127.0.0.1:80": good}}
	srv := httptest.NewServer(s)
	defer srv.Close()
	up, _ := url.Parse(srv.URL)
	up.User = url.UserPassword("me", "secret")
	cfg := proxy.Config{
		Resolve: hosts{"inside.example": {"10.0.0.1"}}.resolve,
		Upstream: func(u *url.URL) (*url.URL, error) {
			if u.Scheme != "https" {
				t.Errorf("asked for the proxy to %s", u)
			}
			return up, nil
		},
	}
	_, socket := open(t, cfg, far, "inside.example:80", "127.0.0.1:80", "unknown.example:443")
	if got, status := reaches(t, socket, far); got != "good" {
		t.Errorf("CONNECT %s = %q, %s, want the server behind the upstream", far, got, status)
	}
	if s.auth != "Basic bWU6c2VjcmV0" {
		t.Errorf("Proxy-Authorization = %q", s.auth)
	}
	for _, target := range []string{"inside.example:80", "127.0.0.1:80", "evil.example:443"} {
		if got, status := reaches(t, socket, target); got != "" || !strings.Contains(status, " 403 ") {
			t.Errorf("CONNECT %s = %q, %s, want 403", target, got, status)
		}
	}
	if got, status := reaches(t, socket, "unknown.example:443"); got != "" || !strings.Contains(status, " 502 ") || !strings.Contains(status, "Bad Gateway") {
		t.Errorf("CONNECT unknown.example = %q, %s, want 502 with the upstream's words", got, status)
	}
	if asked := s.log(); len(asked) != 2 {
		t.Errorf("the upstream was asked %q, want the two that are allowed", asked)
	}
	t.Run("control: with private networks allowed it is asked", func(t *testing.T) {
		cfg.AllowPrivate = append(loopback, loopback[0])
		_, socket := open(t, cfg, "127.0.0.1:80")
		if got, status := reaches(t, socket, "127.0.0.1:80"); got != "good" {
			t.Errorf("CONNECT = %q, %s", got, status)
		}
	})
	t.Run("another scheme", func(t *testing.T) {
		up.Scheme = "socks5"
		if got, status := reaches(t, socket, far); got != "" || !strings.Contains(status, "socks5") {
			t.Errorf("CONNECT = %q, %s, want a refusal that names the scheme", got, status)
		}
	})
}
