package api_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/internal/refusal"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
)

func isKind(err error, k jobspec.Kind) bool {
	var fe *jobspec.FailureError
	return errors.As(err, &fe) && fe.Failure.Kind == k
}

func TestEvents(t *testing.T) {
	e := start(t)
	id := e.svc.add("alice", "j")
	for i := range 3 {
		e.svc.emit(id, fmt.Sprint("step ", i))
	}
	all := e.ask("GET", "/v1/jobs/j/events", "", bearer(alice))
	all.want(t, 200, "")
	if got := all.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("Content-Type = %q", got)
	}
	if got, want := ids(all.body), "1 2 3 4"; got != want {
		t.Errorf("ids = %q, want %q in %s", got, want, all.body)
	}
	if !bytes.HasSuffix(all.body, []byte("\n\nevent: end\ndata: {}\n\n")) || !bytes.Contains(all.body, []byte("event: progress\ndata: {")) {
		t.Errorf("stream = %s", all.body)
	}
	for query, want := range map[string]string{"?after=2": "3 4", "?after=4": "", "?after=99": ""} {
		if got := ids(e.ask("GET", "/v1/jobs/j/events"+query, "", bearer(alice)).body); got != want {
			t.Errorf("ids%s = %q, want %q", query, got, want)
		}
	}
	r := e.ask("GET", "/v1/jobs/j/events?after=1", "", bearer(alice), "Last-Event-ID: 3")
	if got := ids(r.body); got != "4" {
		t.Errorf("ids with Last-Event-ID 3 = %q, want 4", got)
	}
	for _, bad := range []string{"?after=-1", "?after=x", "?follow=maybe"} {
		e.ask("GET", "/v1/jobs/j/events"+bad, "", bearer(alice)).want(t, 400, "E_SPEC")
	}
	e.ask("GET", "/v1/jobs/none/events", "", bearer(alice)).want(t, 404, "E_NOT_FOUND")
}

func ids(stream []byte) string {
	var out []string
	for line := range strings.Lines(string(stream)) {
		if id, ok := strings.CutPrefix(line, "id: "); ok {
			out = append(out, strings.TrimSpace(id))
		}
	}
	return strings.Join(out, " ")
}

func TestEventsFollow(t *testing.T) {
	e := start(t)
	id := e.svc.add("local", "j")
	var got []string
	err := e.client().Events(t.Context(), "@last", 0, true, func(ev jobspec.Event) error {
		got = append(got, ev.Detail)
		switch ev.Seq {
		case 1:
			e.svc.add("local", "a later job") // @last stays what it was
			e.svc.emit(id, "half")
		case 2:
			e.svc.end(id)
		}
		return nil
	})
	if diff := cmp.Diff([]string{"accepted", "half", "succeeded"}, got); err != nil || diff != "" {
		t.Errorf("Events = %v, events (-want +got):\n%s", err, diff)
	}
}

func TestEventsOfRemovedJob(t *testing.T) {
	e := start(t)
	id := e.svc.add("local", "j")
	err := e.client().Events(t.Context(), "j", 0, true, func(ev jobspec.Event) error {
		e.svc.update(func() { e.svc.byID(id).Tenant = "nobody" })
		return nil
	})
	if !isKind(err, jobspec.KindNotFound) {
		t.Errorf("Events of a job that vanished = %v, want E_NOT_FOUND", err)
	}
}

// follow opens an event stream over TCP and returns it after its first line.
func follow(t *testing.T, e *env, path string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", e.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n\r\n", path, bearer(alice))
	r := bufio.NewReader(c)
	if line, err := r.ReadString('\n'); err != nil || !strings.Contains(line, "200") {
		t.Fatalf("GET %s: %q, %v", path, line, err)
	}
	return c, r
}

func TestHeartbeat(t *testing.T) {
	e := start(t, func(c *api.Config) { c.Heartbeat = 10 * time.Millisecond })
	e.svc.add("alice", "j")
	_, r := follow(t, e, "/v1/jobs/j/events?follow=true")
	for beats := 0; beats < 3; {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(line, ":") {
			beats++
		}
	}
}

func TestH15SlowReader(t *testing.T) {
	e := start(t, func(c *api.Config) { c.EventStall = time.Second })
	id := e.svc.add("alice", "j")
	_, stuck := follow(t, e, "/v1/jobs/j/events?follow=true")
	big := strings.Repeat("x", 64<<10)
	for range 400 { // more than all buffers between here and there hold
		e.svc.emit(id, big)
	}
	eventually(t, "the reader that takes nothing is cut", func() bool {
		return strings.Contains(e.log.String(), "stream cut")
	})
	eventually(t, "the service is left alone", func() bool {
		e.svc.mu.Lock()
		defer e.svc.mu.Unlock()
		return e.svc.yielding == 0
	})
	// Others were served all the time, and who was cut loses nothing.
	last := ids(readAll(stuck))
	after := last[strings.LastIndex(last, " ")+1:]
	r := e.ask("GET", "/v1/jobs/j/events", "", bearer(alice), "Last-Event-ID: "+after)
	if got := ids(r.body); !strings.HasSuffix(got, " 401") {
		t.Errorf("resumed after %s, the stream does not reach 401: %q", after, got)
	}
}

// readAll reads what came before a connection was cut.
func readAll(r io.Reader) []byte {
	b, _ := io.ReadAll(r) // it ends in an error, as it was cut
	return b
}

func TestLogs(t *testing.T) {
	e := start(t)
	id := e.svc.add("local", "j")
	e.svc.print(id, jobspec.LogStdout, 0, "out\n")
	e.svc.print(id, jobspec.LogStderr, 1, "err\npart")
	e.svc.print(id, jobspec.LogStdout, 1, strings.Repeat("y", 40000)+"\n")
	e.svc.print(id, jobspec.LogStderr, 1, "ial\n")

	var out, errs, both strings.Builder
	if err := e.client().Logs(t.Context(), "j", false, &out, &errs); err != nil {
		t.Fatal(err)
	}
	if out.Len() != 40005 || errs.String() != "err\npartial\n" {
		t.Errorf("stdout has %d bytes, want 40005; stderr = %q", out.Len(), errs.String())
	}
	if err := e.client().Logs(t.Context(), "j", false, nil, &both, client.WithTaskPrefix(true)); err != nil {
		t.Fatal(err)
	}
	if got, want := both.String(), "task 1 | err\ntask 1 | partial\n"; got != want {
		t.Errorf("with prefix %q, want %q", got, want)
	}
	text := e.askSocket("GET", "/v1/jobs/j/logs?format=text", "")
	if want := "out\nerr\npart" + strings.Repeat("y", 40000) + "\nial\n"; string(text.body) != want {
		t.Errorf("text has %d bytes, want %d", len(text.body), len(want))
	}
	e.askSocket("GET", "/v1/jobs/j/logs?format=html", "").want(t, 400, "E_SPEC")
	e.askSocket("GET", "/v1/jobs/none/logs", "").want(t, 404, "E_NOT_FOUND")
}

func TestLogsFollow(t *testing.T) {
	e := start(t)
	id := e.svc.add("local", "j")
	e.svc.print(id, jobspec.LogStdout, 0, "1")
	var got strings.Builder
	w := writerFunc(func(b []byte) (int, error) {
		got.Write(b)
		switch string(b) {
		case "1":
			e.svc.print(id, jobspec.LogStdout, 0, "2")
		case "2":
			e.svc.end(id)
		}
		return len(b), nil
	})
	if err := e.client().Logs(t.Context(), "j", true, w, nil); err != nil || got.String() != "12" {
		t.Errorf("Logs = %v, %q, want 12", err, got.String())
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func TestStopEndsStreams(t *testing.T) {
	e := start(t, func(c *api.Config) { c.Grace = time.Minute })
	id := e.svc.add("local", "j")
	e.svc.print(id, jobspec.LogStdout, 0, "begun")

	type result struct {
		what string
		err  error
	}
	results := make(chan result, 2) // one send each
	begun := make(chan struct{}, 2)
	c := e.client(client.WithRetry(time.Millisecond, time.Millisecond, time.Millisecond))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	goTest(t, func() {
		err := c.Events(ctx, "j", 0, true, func(jobspec.Event) error { begun <- struct{}{}; return nil })
		results <- result{"events", err}
	})
	goTest(t, func() {
		w := writerFunc(func(b []byte) (int, error) { begun <- struct{}{}; return len(b), nil })
		results <- result{"logs", c.Logs(ctx, "j", true, w, nil)}
	})
	<-begun
	<-begun
	start := time.Now()
	if err := e.stop(); err != nil {
		t.Errorf("Serve() = %v", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("streams held the stop for %s", took)
	}
	for range 2 {
		if r := <-results; r.err == nil || ctx.Err() != nil || isKind(r.err, jobspec.KindInternal) {
			t.Errorf("%s of a node that stopped ended with %v, want a cut: the job is not final", r.what, r.err)
		}
	}
	if _, err := c.Node(t.Context()); !errors.Is(err, client.ErrNoNode) {
		t.Errorf("Node() after the stop = %v, want ErrNoNode", err)
	}
}

func TestH20Panic(t *testing.T) {
	e := start(t)
	id := e.svc.add("alice", "j")
	e.svc.update(func() { e.svc.panics = true })
	for _, path := range []string{"/v1/jobs/j", "/v1/jobs/j/events", "/v1/jobs/j/logs"} {
		r := e.ask("GET", path, "", bearer(alice))
		r.want(t, http.StatusInternalServerError, "E_INTERNAL")
		if bytes.Contains(r.body, []byte("secret")) || r.problem.Instance == "" {
			t.Errorf("H19 H20: answer to a panic = %s", r.body)
		}
		if !strings.Contains(e.log.String(), r.problem.Instance) {
			t.Errorf("the log does not know %s", r.problem.Instance)
		}
	}
	e.svc.update(func() { e.svc.panics = false })
	e.ask("GET", "/v1/jobs/"+id.String(), "", bearer(alice)).want(t, 200, "")
}

func TestH19InternalErrors(t *testing.T) {
	refusal.Produces(t, jobspec.KindInternal)
	e := start(t)
	e.svc.update(func() { e.svc.fail = fmt.Errorf("open /var/lib/ipdc/state.db: permission denied") })
	r := e.ask("GET", "/v1/jobs/j", "", bearer(alice))
	r.want(t, 500, "E_INTERNAL")
	if bytes.Contains(r.body, []byte("/var/lib")) || r.problem.Instance == "" {
		t.Errorf("H19: %s", r.body)
	}
	// Control: the text is in the log under the id, and on the socket.
	if !strings.Contains(e.log.String(), "/var/lib/ipdc/state.db") || !strings.Contains(e.log.String(), r.problem.Instance) {
		t.Error("the log lacks the error or its id")
	}
	if own := e.askSocket("GET", "/v1/jobs/j", ""); !strings.Contains(own.problem.Detail, "/var/lib/ipdc/state.db") {
		t.Errorf("the node's own user is not told: %s", own.body)
	}
}
