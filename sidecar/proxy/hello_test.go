package proxy_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/sidecar/proxy"
)

// N09: a hello for another name, which a machine of many names would follow,
// ends the connection. Everything else passes.
func TestServerName(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.TLS.ServerName) }))
	defer srv.Close()
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate()) // good for example.com and 127.0.0.1
	_, port, _ := strings.Cut(strings.TrimPrefix(srv.URL, "https://"), ":")
	byName, byAddress := "example.com:"+port, "127.0.0.1:"+port
	cfg := proxy.Config{AllowPrivate: loopback, Resolve: hosts{"example.com": {"127.0.0.1"}}.resolve}
	_, socket := open(t, cfg, byName, byAddress)
	for _, c := range []struct {
		target, hello string
		works         bool
	}{
		{byName, "example.com", true},
		{byName, "EXAMPLE.com", true},
		{byName, "", true},
		{byName, "www.example.com", false},
		{byName, "evil.example", false},
		{byAddress, "example.com", true}, // control: without the guard the server follows the hello
	} {
		_, conn, _ := connect(t, socket, c.target)
		tc := tls.Client(conn, &tls.Config{RootCAs: roots, ServerName: c.hello, InsecureSkipVerify: c.hello != "example.com"})
		err := tc.Handshake()
		if (err == nil) != c.works {
			t.Errorf("N09: hello for %q through %s: %v, want success %v", c.hello, c.target, err, c.works)
		}
		conn.Close()
	}
}

// A hello that is cut into records, so that its name cannot be read, is
// refused; other bytes that look a little like TLS pass.
func TestFirstFlight(t *testing.T) {
	e := serve(t, "127.0.0.1:0", "good")
	named := fmt.Sprintf("good.example:%d", e.Port)
	_, socket := open(t, proxy.Config{AllowPrivate: loopback, Resolve: hosts{"good.example": {"127.0.0.1"}}.resolve}, named)
	for text, passes := range map[string]bool{
		"":                              true,
		"x":                             true,
		"\x16":                          true,
		"\x16xyz, not TLS":              true,
		"\x16\x03\x01\x00\x01\x01":      false,
		"\x16\x03\x01\x00\x05\x01abcd":  false,
		"\x16\x03\x01\xff\xff\x01abcdd": false,
	} {
		_, c, r := connect(t, socket, named)
		_, _ = io.WriteString(c, text)
		_ = c.CloseWrite()
		b, _ := io.ReadAll(r)
		if got := strings.HasSuffix(string(b), text) && strings.HasPrefix(string(b), "good\n"); got != passes {
			t.Errorf("%q is answered %q, want it to pass: %v", text, b, passes)
		}
		c.Close()
	}
}
