package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipdc/ipdc/internal/publicaddr"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/proxy"
)

// N09: only the granted pair is reached, however it is written, and no other
// way to write an address leads anywhere.
func TestN09ExactlyWhatIsGranted(t *testing.T) {
	good := serve(t, "127.0.0.1:0", "good")
	other := serve(t, "127.0.0.1:0", "other")
	port := strconv.Itoa(int(good.Port))
	cfg := proxy.Config{AllowPrivate: loopback, Resolve: hosts{
		"good.example": {"127.0.0.1"}, "sub.good.example": {"127.0.0.1"}, "evil.example": {"127.0.0.1"}, "localhost": {"127.0.0.1"},
	}.resolve}
	_, socket := open(t, cfg, "good.example:"+port)
	for _, host := range []string{"good.example", "GOOD.Example", "good.example."} {
		if got, status := reaches(t, socket, host+":"+port); got != "good" {
			t.Errorf("N09: CONNECT %s = %q, %s, want the granted server", host, got, status)
		}
	}
	for _, target := range []string{
		"good.example:" + strconv.Itoa(int(other.Port)), "evil.example:" + port, "sub.good.example:" + port, "example:" + port,
		"good.example..:" + port, "good.example@evil.example:" + port, "evil.example@good.example:" + port, "localhost:" + port,
		"127.0.0.1:" + port, "127.1:" + port, "2130706433:" + port, "0x7f000001:" + port, "0177.0.0.1:" + port,
		"[::1]:" + port, "[::ffff:127.0.0.1]:" + port, "[::ffff:7f00:1]:" + port, "good.example", "good.example:0" + port,
		"good.example:99999", "good.example:", "good.example%00:" + port, "xn--good-example:" + port,
	} {
		if got, status := reaches(t, socket, target); got != "" || !strings.Contains(status, " 40") {
			t.Errorf("N09: CONNECT %s = %q, %s, want a refusal", target, got, status)
		}
	}
	t.Run("control: with the grant it is reached", func(t *testing.T) {
		_, socket := open(t, cfg, "evil.example:"+port, other.String())
		for target, want := range map[string]string{"evil.example:" + port: "good", other.String(): "other"} {
			if got, status := reaches(t, socket, target); got != want {
				t.Errorf("CONNECT %s = %q, %s, want %q", target, got, status, want)
			}
		}
	})
}

// N02 N03 N04: services of this machine and of its neighbours are not reached
// by a granted name or address, unless the node allows their network.
func TestPrivateAddresses(t *testing.T) {
	service := serve(t, "127.0.0.1:0", "service")
	port := strconv.Itoa(int(service.Port))
	names := hosts{"inside.example": {"127.0.0.1"}, "mapped.example": {"::ffff:127.0.0.1"}, "mixed.example": {"fd00::1", "127.0.0.1"}}
	grants := []string{"inside.example:" + port, "mapped.example:" + port, "mixed.example:" + port, "127.0.0.1:" + port, "[::ffff:127.0.0.1]:" + port}
	_, closed := open(t, proxy.Config{Resolve: names.resolve}, grants...)
	_, opened := open(t, proxy.Config{Resolve: names.resolve, AllowPrivate: loopback[:1]}, grants...)
	for _, g := range grants {
		if got, status := reaches(t, closed, g); got != "" || !strings.Contains(status, " 403 ") || !strings.Contains(status, "--network-allow-private") {
			t.Errorf("CONNECT %s = %q, %s, want 403 that names the setting", g, got, status)
		}
		if got, status := reaches(t, opened, g); got != "service" {
			t.Errorf("control: CONNECT %s = %q, %s, want the service", g, got, status)
		}
	}
}

// This machine's own addresses may be public; what listens on all interfaces
// answers there.
func TestOwnAddress(t *testing.T) {
	var own netip.Addr
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if n, err := netip.ParsePrefix(a.String()); err == nil && n.Addr().Is4() && publicaddr.Refused(n.Addr()) == "this machine's own" {
			own = n.Addr()
		}
	}
	if !own.IsValid() {
		t.Skip("needs a machine with a public IPv4 address of its own")
	}
	service := serve(t, netip.AddrPortFrom(own, 0).String(), "service")
	_, closed := open(t, proxy.Config{}, service.String())
	if got, status := reaches(t, closed, service.String()); got != "" || !strings.Contains(status, "this machine's own") {
		t.Errorf("N04: CONNECT %s = %q, %s, want a refusal", service, got, status)
	}
	_, opened := open(t, proxy.Config{AllowPrivate: []netip.Prefix{netip.PrefixFrom(own, 32)}}, service.String())
	if got, status := reaches(t, opened, service.String()); got != "service" {
		t.Errorf("control: CONNECT %s = %q, %s", service, got, status)
	}
}

// A name whose answer changes between two looks: each connection goes to an
// address that was checked for it.
func TestN08Rebinding(t *testing.T) {
	public := serve(t, "127.0.0.1:0", "public")
	serveAt := fmt.Sprintf("127.0.0.2:%d", public.Port)
	serve(t, serveAt, "inside")
	var asked atomic.Int64
	rebind := func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, byte(2 - asked.Add(1)%2)})}, nil
	}
	target := fmt.Sprintf("rebind.example:%d", public.Port)
	_, socket := open(t, proxy.Config{Resolve: rebind, AllowPrivate: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}, target)
	for i := range 6 {
		got, status := reaches(t, socket, target)
		if want := []string{"public", ""}[i%2]; got != want {
			t.Errorf("look %d reaches %q (%s), want %q", i, got, status, want)
		}
	}
	if n := asked.Load(); n != 6 {
		t.Errorf("6 connections resolved %d times, want once each", n)
	}
	_, open2 := open(t, proxy.Config{Resolve: rebind, AllowPrivate: loopback}, target)
	seen := map[string]bool{}
	for range 2 {
		got, _ := reaches(t, open2, target)
		seen[got] = true
	}
	if !seen["inside"] {
		t.Errorf("control: without the guard only %v are reached", seen)
	}
}

// N10: a redirect is followed by the client, which has to ask again.
func TestN10PlainHTTP(t *testing.T) {
	inside := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "inside") }))
	defer inside.Close()
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/redirect":
			http.Redirect(w, r, inside.URL, http.StatusFound)
		case "/echo":
			b, _ := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%s %s %s %v", r.Method, r.Host, b, r.Header["Proxy-Connection"])
		default:
			fmt.Fprint(w, "site")
		}
	}))
	defer site.Close()
	siteAddr, insideAddr := strings.TrimPrefix(site.URL, "http://"), strings.TrimPrefix(inside.URL, "http://")
	p, socket := open(t, proxy.Config{AllowPrivate: loopback}, siteAddr)
	c := webClient(t, socket)
	get := func(url string) (int, string) {
		t.Helper()
		resp, err := c.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	if code, body := get(site.URL); code != 200 || body != "site" {
		t.Errorf("GET the granted site = %d %q", code, body)
	}
	for _, url := range []string{site.URL + "/redirect", inside.URL} {
		if code, body := get(url); code != 403 || strings.Contains(body, "inside") {
			t.Errorf("N10: GET %s = %d %q, want 403", url, code, body)
		}
	}
	resp, err := c.Post(site.URL+"/echo", "text/plain", strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, _ := io.ReadAll(resp.Body); string(b) != "POST "+siteAddr+" body []" {
		t.Errorf("POST = %q", b)
	}
	if u := p.Usage(); u.In == 0 || u.Out == 0 || u.Refused != 2 {
		t.Errorf("Usage = %+v, want bytes both ways and 2 refusals", u)
	}
	t.Run("control: with the grant the redirect leads on", func(t *testing.T) {
		_, socket := open(t, proxy.Config{AllowPrivate: loopback}, siteAddr, insideAddr)
		resp, err := webClient(t, socket).Get(site.URL + "/redirect")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if b, _ := io.ReadAll(resp.Body); string(b) != "inside" {
			t.Errorf("GET = %q, want the other server", b)
		}
	})
}

// What is no request to a proxy is answered and goes nowhere.
func TestBadRequests(t *testing.T) {
	_, socket := open(t, proxy.Config{AllowPrivate: loopback}, "good.example:80")
	for text, want := range map[string]string{
		"GET / HTTP/1.1\r\nHost: good.example\r\n\r\n":                                                   " 403 ",
		"GET https://good.example/ HTTP/1.1\r\nHost: good.example\r\n\r\n":                               " 403 ",
		"GET ftp://good.example:80/ HTTP/1.1\r\nHost: good.example\r\n\r\n":                              " 403 ",
		"GET http://good.example@evil.example/ HTTP/1.1\r\nHost: good.example\r\n\r\n":                   " 403 ",
		"GET http://user@good.example/ HTTP/1.1\r\nHost: good.example\r\n\r\n":                           " 403 ",
		"GET http://evil.example/ HTTP/1.1\r\nHost: good.example\r\n\r\n":                                " 403 ",
		"CONNECT / HTTP/1.1\r\nHost: good.example:80\r\n\r\n":                                            " 403 ",
		"CONNECT evil.example:80 HTTP/1.1\r\nHost: good.example:80\r\n\r\n":                              " 403 ",
		"GET http://good.example/ HTTP/1.1\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n":            " 431 ",
		"GET http://good.example/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n":                                " 400 ",
		"GET http://good.example/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n": " 400 ",
		"\x16\x03\x01\x00\x05hello\r\n\r\n":                                                              " 400 ",
	} {
		c := dialSocket(t, socket)
		_, _ = io.WriteString(c, text) // the server may answer before it has read all
		_ = c.CloseWrite()
		b := make([]byte, 64)
		n, _ := io.ReadFull(c, b)
		if !strings.Contains(string(b[:n]), want) {
			t.Errorf("%.60q is answered %q, want status%s", text, b[:n], want)
		}
		c.Close()
	}
}

// N16: Close ends what is open, and the socket is gone.
func TestN16CloseEndsFlows(t *testing.T) {
	e := serve(t, "127.0.0.1:0", "good")
	p, socket := open(t, proxy.Config{AllowPrivate: loopback}, e.String())
	_, c, r := connect(t, socket, e.String())
	if line, err := r.ReadString('\n'); line != "good\n" {
		t.Fatalf("tunnel says %q, %v", line, err)
	}
	idle := dialSocket(t, socket)
	if err := errors.Join(p.Close(), p.Close()); err != nil {
		t.Fatalf("Close = %v", err)
	}
	for name, conn := range map[string]io.Reader{"tunnel": r, "idle": idle} {
		if b, err := io.ReadAll(conn); err != nil && !errors.Is(err, net.ErrClosed) && !strings.Contains(err.Error(), "reset") || len(b) > 0 {
			t.Errorf("N16: %s gives %q, %v after Close, want its end", name, b, err)
		}
	}
	if _, err := c.Write([]byte("x")); err == nil {
		_, err = c.Write([]byte("x"))
		if err == nil {
			t.Error("N16: the tunnel takes bytes after Close")
		}
	}
	if _, err := os.Stat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}

// A later process takes the directory over, whatever is in it.
func TestReopen(t *testing.T) {
	e := serve(t, "127.0.0.1:0", "good")
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/"+proxy.Socket, nil, 0o600); err != nil { // of a process that was killed
		t.Fatal(err)
	}
	for range 2 {
		p, err := proxy.Open(dir, []jobspec.Endpoint{e}, proxy.Config{AllowPrivate: loopback})
		if err != nil {
			t.Fatal(err)
		}
		if got, status := reaches(t, dir+"/"+proxy.Socket, e.String()); got != "good" {
			t.Errorf("CONNECT = %q, %s", got, status)
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// N13: connections and bytes of one attempt are bounded.
func TestN13Budgets(t *testing.T) {
	e := serve(t, "127.0.0.1:0", "good")
	t.Run("bytes", func(t *testing.T) {
		p, socket := open(t, proxy.Config{AllowPrivate: loopback, Bytes: 64 * jobspec.KiB}, e.String())
		_, c, r := connect(t, socket, e.String())
		go func() {
			_, _ = io.CopyN(c, zeros{}, 1<<20)
			_ = c.CloseWrite()
		}()
		n, _ := io.Copy(io.Discard, r)
		if n > 64<<10 {
			t.Errorf("N13: %d bytes came back, the budget is 64 KiB for both ways", n)
		}
		if u := p.Usage(); u.In+u.Out > 128*jobspec.KiB {
			t.Errorf("N13: Usage = %+v with a budget of 64 KiB", u)
		}
		if got, status := reaches(t, socket, e.String()); got != "" || !strings.Contains(status, "64KiB") {
			t.Errorf("N13: after that CONNECT = %q, %s, want a refusal with the number", got, status)
		}
	})
	t.Run("connections", func(t *testing.T) {
		_, socket := open(t, proxy.Config{AllowPrivate: loopback, Conns: 1}, e.String())
		_, first, r := connect(t, socket, e.String())
		if line, _ := r.ReadString('\n'); line != "good\n" {
			t.Fatalf("tunnel says %q", line)
		}
		second := dialSocket(t, socket)
		fmt.Fprintf(second, "CONNECT %s HTTP/1.1\r\nHost: x\r\n\r\n", e)
		_ = second.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if n, err := second.Read(make([]byte, 1)); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("N13: a second connection is answered beside the first: %v", err)
		}
		_ = first.Close()
		_ = second.SetReadDeadline(time.Now().Add(time.Minute))
		if n, err := second.Read(make([]byte, 1)); n != 1 {
			t.Errorf("the second connection is not answered after the first: %v", err)
		}
	})
	t.Run("idle", func(t *testing.T) {
		_, socket := open(t, proxy.Config{AllowPrivate: loopback, Idle: time.Second}, e.String())
		_, _, r := connect(t, socket, e.String())
		if b, err := io.ReadAll(r); string(b) != "good\n" || err != nil {
			t.Errorf("idle tunnel gives %q, %v, want its end", b, err)
		}
	})
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// Each side may end its direction first.
func TestHalfClose(t *testing.T) {
	e := serve(t, "127.0.0.1:0", "good")
	p, socket := open(t, proxy.Config{AllowPrivate: loopback}, e.String())
	_, c, r := connect(t, socket, e.String())
	const size = 3 << 20
	go func() {
		_, _ = io.CopyN(c, zeros{}, size)
		_ = c.CloseWrite()
	}()
	n, err := io.Copy(io.Discard, r)
	if want := int64(size + len("good\n")); n != want || err != nil {
		t.Errorf("got %d bytes back, %v, want %d", n, err, want)
	}
	if u := p.Usage(); u.Out != size || int64(u.In) != n {
		t.Errorf("Usage = %+v, want %d out and %d in", u, size, n)
	}
}
