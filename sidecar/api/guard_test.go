package api_test

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/sidecar/api"
)

func TestH01Token(t *testing.T) {
	e := start(t)
	e.ask("GET", "/v1/node", "", bearer(alice)).want(t, 200, "") // control
	e.askSocket("GET", "/v1/node", "").want(t, 200, "")          // control: the socket needs none

	for name, headers := range map[string][]string{
		"none":           nil,
		"empty":          {"Authorization: Bearer "},
		"no scheme":      {"Authorization: " + alice},
		"basic":          {"Authorization: Basic " + alice},
		"garbled":        {bearer("\x01\x7f" + alice)[:15] + "garbled"},
		"unknown":        {bearer(alice + "x")},
		"prefix":         {bearer(alice[:len(alice)-1])},
		"trailing space": {bearer(alice + " x")},
		"two headers":    {bearer(alice), bearer(bob)},
		"huge":           {bearer(strings.Repeat("a", 4096))},
	} {
		t.Run("H01 "+name, func(t *testing.T) {
			e := e.in(t)
			r := e.ask("GET", "/v1/node", "", headers...)
			r.want(t, http.StatusUnauthorized, "E_POLICY")
			if got := r.Header.Get("WWW-Authenticate"); got != "Bearer" {
				t.Errorf("WWW-Authenticate = %q, want Bearer", got)
			}
		})
	}
	for _, q := range []string{"token", "access_token"} {
		t.Run("H01 in the query as "+q, func(t *testing.T) {
			e := e.in(t)
			r := e.ask("GET", "/v1/node?"+q+"="+alice, "")
			r.want(t, http.StatusUnauthorized, "E_POLICY")
			e.ask("GET", "/v1/node?"+q+"="+alice, "", bearer(alice)).want(t, http.StatusUnauthorized, "E_POLICY")
			if bytes.Contains(r.body, []byte(alice)) {
				t.Errorf("the answer repeats the token: %s", r.body)
			}
		})
	}
	t.Run("H01 unknown paths need a token too", func(t *testing.T) {
		e := e.in(t)
		e.ask("GET", "/v1/nothing", "").want(t, http.StatusUnauthorized, "E_POLICY")
		e.ask("GET", "/openapi.json", "").want(t, http.StatusUnauthorized, "E_POLICY")
	})
	t.Run("H01 never logged", func(t *testing.T) {
		e := e.in(t)
		log := e.log.String()
		if !strings.Contains(log, "/v1/node") {
			t.Fatalf("control: the log has no request: %s", log)
		}
		if strings.Contains(log, alice) || strings.Contains(log, bob) {
			t.Errorf("the log holds a token: %s", log)
		}
	})
	t.Run("H01 without a token source nobody gets in", func(t *testing.T) {
		e := start(t, func(c *api.Config) { c.Tokens = nil })
		e.ask("GET", "/v1/node", "", bearer(alice)).want(t, http.StatusUnauthorized, "E_POLICY")
	})
}

func TestHealthNeedsNoToken(t *testing.T) {
	e := start(t)
	e.ask("GET", "/healthz", "").want(t, 200, "")
	if r := e.ask("GET", "/readyz", ""); r.StatusCode != 200 || string(r.body) != "degraded: domain\n" { // of the file's path, nothing
		t.Errorf("readyz = %d %s", r.StatusCode, r.body)
	}
	e.svc.update(func() { e.svc.fail = fmt.Errorf("docker at /run/secret is gone") })
	r := e.ask("GET", "/readyz", "")
	r.want(t, http.StatusServiceUnavailable, "E_INTERNAL")
	if bytes.Contains(r.body, []byte("/run/secret")) {
		t.Errorf("readyz tells strangers why: %s", r.body)
	}
	e.ask("GET", "/healthz", "").want(t, 200, "")
}

func TestH13Origin(t *testing.T) {
	e := start(t)
	for _, origin := range []string{"null", "https://evil.example", "http://127.0.0.1:1", "http://localhost", ""} {
		t.Run("H13 H15 "+origin, func(t *testing.T) {
			e := e.in(t)
			for _, r := range []reply{
				e.ask("GET", "/v1/node", "", bearer(alice), "Origin: "+origin),
				e.ask("GET", "/v1/jobs/@last/events?follow=true", "", bearer(alice), "Origin: "+origin),
				e.ask("OPTIONS", "/v1/jobs", "", "Origin: "+origin, "Access-Control-Request-Method: POST"),
				e.askSocket("GET", "/v1/node", "", "Origin: "+origin),
			} {
				r.want(t, http.StatusForbidden, "E_POLICY")
				noCORS(t, r)
			}
		})
	}
	same := e.ask("GET", "/v1/node", "", bearer(alice), "Origin: http://"+e.addr)
	same.want(t, 200, "")
	noCORS(t, same)
}

func noCORS(t *testing.T, r reply) {
	t.Helper()
	for k := range r.Header {
		if strings.HasPrefix(k, "Access-Control-") {
			t.Errorf("answer has %s", k)
		}
	}
}

func TestHostOfDNSRebinding(t *testing.T) {
	e := start(t)
	_, port, _ := net.SplitHostPort(e.addr)
	for _, host := range []string{"localhost:" + port, "127.0.0.1", "127.8.8.8:1", "[::1]:" + port, "LOCALHOST"} {
		e.ask("GET", "/v1/node", "", bearer(alice), "Host: "+host).want(t, 200, "")
	}
	for _, host := range []string{"evil.example", "evil.example:" + port, "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "0.0.0.0"} {
		e.ask("GET", "/v1/node", "", bearer(alice), "Host: "+host).want(t, http.StatusForbidden, "E_POLICY")
		e.ask("GET", "/healthz", "", "Host: "+host).want(t, http.StatusForbidden, "E_POLICY")
		// Control: no browser reaches the socket, so any name is fine there.
		e.askSocket("GET", "/v1/node", "", "Host: "+host).want(t, 200, "")
	}
}

func TestH07ContentEncoding(t *testing.T) {
	e := start(t)
	for _, enc := range []string{"gzip", "zstd", "deflate", "identity, gzip", "br"} {
		for _, path := range []string{"/v1/jobs", "/v1/dag"} {
			e.ask("POST", path, "\x1f\x8b", bearer(alice), "Content-Type: application/json", "Content-Encoding: "+enc).
				want(t, http.StatusUnsupportedMediaType, "E_SPEC")
		}
	}
	e.ask("POST", "/v1/jobs", goodSpec, bearer(alice), "Content-Type: application/json", "Content-Encoding: identity").want(t, 201, "")
}

func TestH11Paths(t *testing.T) {
	e := start(t)
	e.svc.add("alice", "mine")
	e.ask("GET", "/v1/jobs/mine", "", bearer(alice)).want(t, 200, "") // control
	for _, p := range []string{
		"/v1/jobs/..%2f..%2fstate.db", "/v1/jobs/..%2F", "/v1/jobs/%2e%2e", "/v1/jobs/..", "/v1/jobs/%252e%252e%252fstate.db/logs",
		"/v1/jobs/a%00b", "/v1/jobs/a%0d%0ab", "/v1/jobs/..%5c..%5cstate.db", "/v1/jobs//mine", "/v1/jobs/./mine",
		"/v1/jobs/../jobs/mine", "/v1/jobs/" + strings.Repeat("a", 129), "/v1/jobs/%ff", "/v1/jobs/mine/", "/v1/jobs/%2fetc%2fpasswd/events",
	} {
		r := e.ask("GET", p, "", bearer(alice))
		r.want(t, http.StatusNotFound, "E_NOT_FOUND")
		if r.Header.Get("Location") != "" {
			t.Errorf("GET %s redirects to %q", p, r.Header.Get("Location"))
		}
	}
	for _, ref := range e.svc.refs {
		if strings.ContainsAny(ref, "/\\\x00\r\n") || strings.Trim(ref, ".") == "" {
			t.Errorf("ref %q reached the service", ref)
		}
	}
	for _, p := range []string{"/v1/dag/..%2f..%2fstate.db", "/v1/dag/x%00", "/v1/ls?path=../../etc", "/v1/resolve?path=%2fetc%2fpasswd"} {
		e.ask("GET", p, "", bearer(alice)).want(t, http.StatusBadRequest, "E_SPEC")
	}
}

func TestH16NothingReflected(t *testing.T) {
	e := start(t)
	r := e.ask("GET", "/v1/jobs/x%0d%0aSet-Cookie:%20a=b", "", bearer(alice))
	r.want(t, http.StatusNotFound, "E_NOT_FOUND")
	if r.Header.Get("Set-Cookie") != "" || bytes.Contains(r.body, []byte("Set-Cookie")) {
		t.Errorf("answer repeats the path: %v %s", r.Header, r.body)
	}
	t.Run("H16 raw line breaks in a header", func(t *testing.T) {
		c, err := net.Dial("tcp", e.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "GET /v1/node HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nIdempotency-Key: a\rb\r\n\r\n", alice)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("status = %d, want 400", resp.StatusCode)
		}
	})
	t.Run("H16 idempotency key", func(t *testing.T) {
		e := e.in(t)
		for _, key := range []string{"tab\there", "umlaut-ä", strings.Repeat("k", 129)} {
			e.ask("POST", "/v1/jobs", goodSpec, bearer(alice), "Content-Type: application/json", "Idempotency-Key: "+key).
				want(t, http.StatusBadRequest, "E_SPEC")
		}
	})
}

func TestUnknownEndpointsAndMethods(t *testing.T) {
	e := start(t)
	e.ask("GET", "/", "", bearer(alice)).want(t, 404, "E_NOT_FOUND")
	r := e.ask("PUT", "/v1/jobs", "", bearer(alice))
	r.want(t, 405, "E_POLICY")
	if got := r.Header.Get("Allow"); !strings.Contains(got, "POST") || !strings.Contains(got, "GET") {
		t.Errorf("Allow = %q, want GET and POST", got)
	}
	q := e.ask("GET", "/v1/jobs?sate=running", "", bearer(alice))
	q.want(t, 400, "E_SPEC")
	if !strings.Contains(q.problem.Hint, "state") {
		t.Errorf("hint %q does not name the known parameters", q.problem.Hint)
	}
}
