package proxy_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
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

// N09: a hello that is dressed up, in a way that servers still take, does not
// hide its name.
func TestServerNameDressedUp(t *testing.T) {
	srv := httptest.NewTLSServer(http.NotFoundHandler())
	defer srv.Close()
	_, port, _ := strings.Cut(strings.TrimPrefix(srv.URL, "https://"), ":")
	byName, byAddress := "example.com:"+port, "127.0.0.1:"+port
	_, socket := open(t, proxy.Config{AllowPrivate: loopback, Resolve: hosts{"example.com": {"127.0.0.1"}}.resolve}, byName, byAddress)
	for what, dress := range map[string]func(hello []byte) []byte{
		"behind a warning": func(hello []byte) []byte { return append([]byte("\x15\x03\x01\x00\x02\x01\x5a"), hello...) },
		"of SSL 2.0":       func(hello []byte) []byte { hello[1], hello[2] = 2, 0; return hello },
		"of version 0":     func(hello []byte) []byte { hello[1], hello[2] = 0, 0; return hello },
	} {
		for target, works := range map[string]bool{
			byName:    false,
			byAddress: true, // control: the server takes the hello
		} {
			_, conn, _ := connect(t, socket, target)
			tc := tls.Client(&dressed{Conn: conn, dress: dress}, &tls.Config{ServerName: "evil.example", InsecureSkipVerify: true})
			if err := tc.Handshake(); (err == nil) != works {
				t.Errorf("N09: hello %s through %s: %v, want success %v", what, target, err, works)
			}
			conn.Close()
		}
	}
}

// dressed changes the first bytes that are sent.
type dressed struct {
	net.Conn
	dress func([]byte) []byte
}

func (c *dressed) Write(b []byte) (int, error) {
	if c.dress == nil {
		return c.Conn.Write(b)
	}
	sent := c.dress(bytes.Clone(b))
	c.dress = nil
	_, err := c.Conn.Write(sent)
	return len(b), err
}

// A hello that is cut into records, so that its name cannot be read, is
// refused, and so is what begins like another record of TLS. Other bytes pass.
func TestFirstFlight(t *testing.T) {
	e := serve(t, "127.0.0.1:0", "good")
	named := fmt.Sprintf("good.example:%d", e.Port)
	_, socket := open(t, proxy.Config{AllowPrivate: loopback, Resolve: hosts{"good.example": {"127.0.0.1"}}.resolve}, named)
	for text, passes := range map[string]bool{
		"":                              true,
		"x":                             true,
		"\x16":                          true,
		"\x16xyz, not TLS":              false,
		"\x16\x03\x01\x00\x00":          false,
		"\x14\x03\x03\x00\x01\x01":      false,
		"\x15":                          false,
		"\x15\x03\x01\x00\x02\x01\x5a":  false,
		"\x17\x03\x03\x00\x00":          false,
		"\x00\x03\x01":                  true,
		"SSH-2.0-x\r\n":                 true,
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
