package api_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/wire"
)

// errands is one job that a member has.
type errands struct {
	api.Errands
	h api.Handed

	mu      sync.Mutex
	learned []wire.Job
	forgot  int
}

func (e *errands) Handed(_ context.Context, tenant, ref string) (api.Handed, bool, error) {
	return e.h, tenant == e.h.Tenant && ref == e.h.Job.String(), nil
}

func (e *errands) Learn(_ context.Context, _ api.Handed, j wire.Job) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.learned = append(e.learned, j)
	return nil
}

func (e *errands) Forget(context.Context, api.Handed) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.forgot++
	return nil
}

// withMember serves an API of a node whose one job a member has, which answers
// each request with what answer says, raw.
func withMember(t *testing.T, answer func(r *http.Request, s bus.Stream)) (*env, *errands) {
	t.Helper()
	return withMemberFor(t, time.Minute, answer)
}

// withMemberFor has a node that waits so long for the member's answer.
func withMemberFor(t *testing.T, patience time.Duration, answer func(r *http.Request, s bus.Stream)) (*env, *errands) {
	t.Helper()
	ends, ids := twoMembers(t)
	ends[1].Handle("jobs/1", func(_ context.Context, s bus.Stream) {
		r, err := http.ReadRequest(bufio.NewReader(s))
		if err != nil {
			t.Errorf("the member cannot read the request: %v", err)
			return
		}
		answer(r, s)
	})
	far := &errands{h: api.Handed{Tenant: "alice", Key: "k", Member: ids[1], Job: jobspec.NewJobID(time.Now())}}
	return start(t, func(c *api.Config) {
		c.Errands, c.Streams, c.Timeout, c.EventStall, c.Heartbeat = far, ends[0], patience, time.Minute, 300*time.Millisecond
	}), far
}

func raw(s bus.Stream, status int, media, body string) {
	fmt.Fprintf(s, "HTTP/1.1 %d X\r\nContent-Type: %s\r\nSet-Cookie: a=b\r\nLocation: http://example.org\r\nConnection: close\r\n\r\n%s", status, media, body)
}

// What a member answers is passed on as far as it can be an answer, and
// nothing else of it.
func TestMemberIsNotBelieved(t *testing.T) {
	const other = "01k0000000000000000000000a"
	for name, c := range map[string]struct {
		path   string
		answer func(id string, s bus.Stream)
		status int
		says   string
	}{
		"its job":     {"", func(id string, s bus.Stream) { raw(s, 200, "application/json", `{"id":"`+id+`","tenant":"root"}`) }, 200, `"tenant":"alice"`}, // control
		"another job": {"", func(_ string, s bus.Stream) { raw(s, 200, "application/json", `{"id":"`+other+`"}`) }, 500, ""},
		"no JSON":     {"", func(_ string, s bus.Stream) { raw(s, 200, "application/json", `<html>`) }, 500, ""},
		"a page":      {"", func(_ string, s bus.Stream) { raw(s, 200, "text/html", `<script>`) }, 500, ""},
		"a redirect":  {"", func(_ string, s bus.Stream) { raw(s, 302, "text/plain", ``) }, 500, ""},
		"no HTTP":     {"", func(_ string, s bus.Stream) { _, _ = s.Write([]byte("SSH-2.0-x\r\n\r\n")) }, 503, "cannot be reached"},
		"nothing":     {"", func(_ string, s bus.Stream) {}, 503, "cannot be reached"},
		"silence":     {"", func(_ string, s bus.Stream) { _, _ = s.Read(make([]byte, 1)) }, 503, "cannot be reached"},
		"a reset":     {"", func(_ string, s bus.Stream) { _ = s.Reset() }, 503, "cannot be reached"},
		"no reason":   {"", func(_ string, s bus.Stream) { raw(s, 403, "application/problem+json", `{}`) }, 500, ""},
		"a reason": {"", func(_ string, s bus.Stream) {
			raw(s, 403, "application/problem+json", `{"kind":"E_POLICY","detail":"not today","hint":"come again"}`)
		}, 403, "not today"},
		"a header without end": {"", func(_ string, s bus.Stream) {
			_, _ = s.Write([]byte("HTTP/1.1 200 OK\r\nX: "))
			line, took := []byte(strings.Repeat("x", 32<<10)), 0
			for n, err := 0, error(nil); err == nil; took += n {
				n, err = s.Write(line)
			}
			if took > 1<<20 {
				t.Errorf("%d bytes of a header were read", took)
			}
		}, 503, "cannot be reached"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var far *errands
			patience := time.Minute
			if name == "silence" {
				patience = 2 * time.Second
			}
			e, far := withMemberFor(t, patience, func(r *http.Request, s bus.Stream) { c.answer(strings.Split(r.URL.Path, "/")[3], s) })
			r := e.ask("GET", "/v1/jobs/"+far.h.Job.String()+c.path, "", bearer(alice))
			if r.StatusCode != c.status || !strings.Contains(string(r.body), c.says) {
				t.Errorf("answer = %d %.300s, want %d that says %q", r.StatusCode, r.body, c.status, c.says)
			}
			if r.Header.Get("Set-Cookie") != "" || r.StatusCode != 201 && r.Header.Get("Location") != "" || strings.Contains(string(r.body), "<") {
				t.Errorf("passed on: %v %s", r.Header, r.body)
			}
			if c.status != 200 && len(far.learned) > 0 {
				t.Errorf("learned %+v", far.learned)
			}
			if r := e.ask("GET", "/v1/jobs/"+far.h.Job.String(), "", bearer(bob)); r.StatusCode != 404 {
				t.Errorf("another tenant gets %d", r.StatusCode)
			}
		})
	}
}

// A stream that the member cuts is cut here too, so that no half looks whole;
// what it asks the member is the job's endpoint and nothing of the caller's.
func TestMemberStreams(t *testing.T) {
	asks := make(chan *http.Request, 2)
	var cuts atomic.Bool
	e, far := withMember(t, func(r *http.Request, s bus.Stream) {
		asks <- r
		raw(s, 200, "text/event-stream", "id: 7\nevent: progress\ndata: {\"seq\":7}\n\n")
		if cuts.Load() {
			_ = s.Reset()
		}
	})
	path := "/v1/jobs/" + far.h.Job.String() + "/events?follow=true"
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+e.addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+alice)
	req.Header.Set("Last-Event-ID", "6")
	for _, cut := range []bool{true, false} {
		cuts.Store(cut)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		_, err = bufio.NewReader(resp.Body).WriteTo(&b)
		_ = resp.Body.Close()
		if (err != nil) != cut || !cut && !strings.Contains(b.String(), "id: 7") {
			t.Errorf("a stream that is cut (%v) gives %q, %v", cut, b.String(), err)
		}
	}
	asked := <-asks
	if asked.Header.Get("Authorization") != "" || asked.Header.Get("Last-Event-ID") != "6" || asked.URL.RawQuery != "follow=true" {
		t.Errorf("the member was asked %s with %v", asked.URL, asked.Header)
	}
	http.DefaultClient.CloseIdleConnections()
}

// A job that the member does not know any more is forgotten here by rm.
func TestForgetWhatTheMemberForgot(t *testing.T) {
	e, far := withMember(t, func(r *http.Request, s bus.Stream) {
		raw(s, 404, "application/problem+json", `{"kind":"E_NOT_FOUND","detail":"no job"}`)
	})
	path := "/v1/jobs/" + far.h.Job.String()
	r := e.ask("GET", path, "", bearer(alice))
	r.want(t, 404, "E_NOT_FOUND")
	if !strings.Contains(r.problem.Hint, "ipdc job rm") {
		t.Errorf("hint = %q", r.problem.Hint)
	}
	if r := e.ask("DELETE", path, "", bearer(alice)); r.StatusCode != 204 || far.forgot != 1 {
		t.Errorf("DELETE = %d, forgotten %d times", r.StatusCode, far.forgot)
	}
}
