package api_test

import (
	"strings"
	"testing"

	"github.com/ipdc/ipdc/jobspec"
)

// A log as events goes on after a cut where it was.
func TestLogEvents(t *testing.T) {
	e := start(t)
	id := e.svc.add("alice", "j")
	e.svc.print(id, jobspec.LogStdout, 0, "one")
	e.svc.print(id, jobspec.LogStderr, 0, "two")
	e.svc.print(id, jobspec.LogStdout, 0, "\xff")
	const path = "/v1/jobs/j/logs?format=events"

	c, r := follow(t, e, path+"&follow=true")
	first := ""
	for !strings.HasPrefix(first, "data: ") {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		first = line
	}
	_ = c.Close() // cut after the first event
	if want := `data: {"task":0,"stream":"stdout","text":"one"}` + "\n"; first != want {
		t.Errorf("first event = %q, want %q", first, want)
	}
	e.svc.end(id)
	rest := e.ask("GET", path+"&follow=true", "", bearer(alice), "Last-Event-ID: 0.1.3")
	rest.want(t, 200, "")
	want := "id: 0.1.6\nevent: log\ndata: {\"task\":0,\"stream\":\"stderr\",\"text\":\"two\"}\n\n" +
		"id: 0.1.7\nevent: log\ndata: {\"task\":0,\"stream\":\"stdout\",\"bytes\":\"/w==\"}\n\n" +
		"event: end\ndata: {}\n\n"
	if got := string(rest.body); got != want {
		t.Errorf("rest = %q, want %q", got, want)
	}
	if got := ids(e.ask("GET", path+"&after=0.1.6", "", bearer(alice)).body); got != "0.1.7" {
		t.Errorf("ids after 0.1.6 = %q, want 0.1.7", got)
	}
	for _, bad := range []string{"&after=1", "&after=0.1.x", "&after=0.1.-1", "&after=0.01.1", "&after=a.b.c"} {
		e.ask("GET", path+bad, "", bearer(alice)).want(t, 400, "E_SPEC")
	}
	e.ask("GET", "/v1/jobs/j/logs?after=0.1.3", "", bearer(alice)).want(t, 400, "E_SPEC")
	e.ask("GET", path, "", bearer(bob)).want(t, 404, "E_NOT_FOUND")
}
