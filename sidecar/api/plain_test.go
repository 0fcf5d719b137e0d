package api_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	_ "net/http/pprof" // what the API would show if it served what packages register
	"strings"
	"testing"
	"time"
)

// preface is what a client of HTTP/2 begins with, and an empty SETTINGS frame.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"

// says returns the first bytes that a server answers to text.
func says(t *testing.T, addr, text string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 64)
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	n, _ := c.Read(b)
	return string(b[:n])
}

// No connection of the API speaks HTTP/2, so that none of its floods has a
// place: not with prior knowledge, and not by an upgrade.
func TestH06NoHTTP2(t *testing.T) {
	e := start(t)
	upgrade := "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
	for name, text := range map[string]string{"prior knowledge": preface, "upgrade": upgrade} {
		if got := says(t, e.addr, text); !strings.HasPrefix(got, "HTTP/1.1 ") || strings.HasPrefix(got, "HTTP/1.1 101") {
			t.Errorf("%s: the answer is %q, want one of HTTP/1.1 without a change of protocols", name, got)
		}
	}
	open := httptest.NewUnstartedServer(http.NotFoundHandler()) // control: a server that speaks it
	open.Config.Protocols = &http.Protocols{}
	open.Config.Protocols.SetUnencryptedHTTP2(true)
	open.Start()
	defer open.Close()
	if got := says(t, open.Listener.Addr().String(), preface); len(got) < 9 || got[3] != 4 {
		t.Errorf("control: the answer is %q, want a SETTINGS frame", got)
	}
}

// Profiles and variables of the process are not there, whoever asks, and
// metrics are for tokens.
func TestH17NothingToProfile(t *testing.T) {
	e := start(t)
	open := httptest.NewServer(http.DefaultServeMux) // control: where packages register such pages
	defer open.Close()
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/cmdline", "/debug/vars"} {
		e.ask("GET", path, "", bearer(alice)).want(t, 404, "E_NOT_FOUND")
		e.askSocket("GET", path, "").want(t, 404, "E_NOT_FOUND")
	}
	r, err := http.Get(open.URL + "/debug/pprof/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if r.StatusCode != 200 {
		t.Errorf("control: the page of the default mux answers %d", r.StatusCode)
	}
	e.ask("GET", "/metrics", "").want(t, 401, "E_POLICY")
}
