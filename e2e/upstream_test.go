package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// siteProxy is a site's own proxy: it knows one name, which nobody else does.
type siteProxy struct {
	name, leads string

	mu    sync.Mutex
	asked []string
}

func (s *siteProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked = append(s.asked, r.Method+" "+r.Host)
	s.mu.Unlock()
	if r.Host != s.name {
		http.Error(w, "unknown", http.StatusBadGateway)
		return
	}
	out, err := net.Dial("tcp", s.leads)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer out.Close()
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	fmt.Fprint(c, "HTTP/1.1 200 OK\r\n\r\n")
	_, _ = io.Copy(c, out)
}

// A node behind a site's own proxy asks that for granted names, and for
// nothing else.
func TestNetworkThroughTheSitesProxy(t *testing.T) {
	server := greet(t, "127.0.0.1:0", constant("granted"))
	site := &siteProxy{name: "only.site.invalid:443", leads: server.String()}
	srv := httptest.NewServer(site)
	defer srv.Close()
	n := newNode(t)
	n.stop()
	n.start("HTTPS_PROXY="+srv.URL, "https_proxy="+srv.URL, "NO_PROXY=", "no_proxy=")

	seen := n.reach("standard", []string{site.name}, "proxied="+site.name, "proxied=other.site.invalid:443")
	if s := seen["proxied="+site.name]; s.Got != "granted" {
		t.Errorf("%s = %+v, want the server that the site's proxy leads to", site.name, s)
	}
	if s := seen["proxied=other.site.invalid:443"]; !strings.Contains(s.Error, "403") {
		t.Errorf("another name = %+v, want a refusal", s)
	}
	site.mu.Lock()
	defer site.mu.Unlock()
	if len(site.asked) != 1 || site.asked[0] != "CONNECT "+site.name {
		t.Errorf("the site's proxy was asked %q, want the granted name once", site.asked)
	}
}
