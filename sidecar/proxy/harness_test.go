package proxy_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/proxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// serve starts a server of the host that greets with its name, then echoes.
func serve(t *testing.T, addr, name string) jobspec.Endpoint {
	t.Helper()
	ap := testenv.Serve(t, addr, func(c net.Conn) {
		fmt.Fprintln(c, name)
		_, _ = io.Copy(c, c)
	})
	return jobspec.Endpoint{Host: ap.Addr().String(), Port: ap.Port()}
}

// hosts is a name server of the test's own.
type hosts map[string][]string

func (h hosts) resolve(_ context.Context, host string) ([]netip.Addr, error) {
	var list []netip.Addr
	for _, a := range h[host] {
		list = append(list, netip.MustParseAddr(a))
	}
	if list == nil {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return list, nil
}

// open starts a proxy and returns it with the path of its socket.
func open(t *testing.T, cfg proxy.Config, grants ...string) (*proxy.Proxy, string) {
	t.Helper()
	var list []jobspec.Endpoint
	for _, g := range grants {
		e, err := jobspec.ParseEndpoint(g)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, e)
	}
	dir := filepath.Join(t.TempDir(), strings.Repeat("long/", 20)) // over what a socket's path may have
	p, err := proxy.Open(dir, list, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	return p, filepath.Join(dir, proxy.Socket)
}

// dialSocket connects like the guest does; a short name stands for the path.
func dialSocket(t *testing.T, socket string) *net.UnixConn {
	t.Helper()
	t.Chdir(filepath.Dir(socket))
	c, err := net.DialTimeout("unix", proxy.Socket, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	return c.(*net.UnixConn)
}

// connect sends a CONNECT for host and returns the answer's status line and
// the tunnel.
func connect(t *testing.T, socket, host string) (string, *net.UnixConn, *bufio.Reader) {
	t.Helper()
	c := dialSocket(t, socket)
	fmt.Fprintf(c, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", host, host)
	r := bufio.NewReader(c)
	status, err := r.ReadString('\n')
	if err != nil {
		t.Fatalf("CONNECT %s: %v", host, err)
	}
	for line := status; line != "\r\n"; {
		if line, err = r.ReadString('\n'); err != nil {
			t.Fatalf("CONNECT %s: %v", host, err)
		}
	}
	return strings.TrimSpace(status), c, r
}

// reaches says which server a CONNECT leads to: the name that it greets with,
// or "" and the refusal.
func reaches(t *testing.T, socket, host string) (server, status string) {
	t.Helper()
	status, c, r := connect(t, socket, host)
	defer c.Close()
	if strings.Contains(status, " 200 ") {
		server, _ = r.ReadString('\n')
	}
	return strings.TrimSpace(server), status
}

// webClient asks plain http:// URLs through the proxy.
func webClient(t *testing.T, socket string) *http.Client {
	t.Helper()
	t.Chdir(filepath.Dir(socket))
	tr := &http.Transport{
		Proxy:             http.ProxyURL(&url.URL{Scheme: "http", Host: "proxy"}),
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", proxy.Socket)
		},
	}
	return &http.Client{Transport: tr, Timeout: time.Minute}
}
