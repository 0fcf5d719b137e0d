package api_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/bus/memory"
	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
)

// twoMembers are the ends of a domain's network and who is at them.
func twoMembers(t *testing.T) (ends [2]*memory.Bus, ids [2]identity.ID) {
	t.Helper()
	net := memory.New(memory.Config{})
	for i := range ends {
		key, err := identity.Generate()
		if err != nil {
			t.Fatal(err)
		}
		ids[i] = key.ID()
		if ends[i], err = net.Join(ids[i]); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = ends[i].Close() })
	}
	return ends, ids
}

// startMember serves an API that takes streams of other members.
func startMember(t *testing.T, at bus.Streams) *env {
	t.Helper()
	e := start(t, func(c *api.Config) { c.Streams = at })
	if _, err := e.client().Node(t.Context()); err != nil { // it takes them before it answers
		t.Fatal(err)
	}
	return e
}

// A stream leads to a task of a job that was handed over, by way of the member
// that has it.
func TestDialHandedOver(t *testing.T) {
	ends, ids := twoMembers(t)
	there := startMember(t, ends[1])
	j, _, err := there.svc.Submit(t.Context(), api.Submission{Tenant: api.MemberTenant(ids[0])})
	if err != nil {
		t.Fatal(err)
	}
	far := &errands{h: api.Handed{Tenant: "alice", Key: "k", Member: ids[1], Job: j.ID}}
	here := start(t, func(c *api.Config) { c.Errands, c.Streams = far, ends[0] })
	mine := here.dial("http://"+here.addr, client.WithToken(alice))
	refused := func(who, token, job, task string, want jobspec.Kind, says string) {
		t.Helper()
		conn, err := here.dial("http://"+here.addr, client.WithToken(token)).Dial(t.Context(), job, task)
		if !errors.Is(err, want.Error()) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: Dial = %v, %v; want %s that says %q", who, conn, err, want, says)
		}
	}
	refused("before it runs", alice, j.ID.String(), "a-0", jobspec.KindConflict, ids[1].String()+", which has the job: no gang of it runs")
	p := there.startGang()
	conn, err := mine.Dial(t.Context(), j.ID.String(), "a-0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const said = "to a task at another member's member"
	if _, err := io.WriteString(conn, said); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(said))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != said {
		t.Errorf("read %q, %v", got, err)
	}
	refused("another tenant", bob, j.ID.String(), "a-0", jobspec.KindNotFound, "")
	far.h.Job = jobspec.NewJobID(time.Now())
	refused("a job that the member does not have", alice, far.h.Job.String(), "a-0", jobspec.KindNotFound, "no job has this id")
	_ = p.Close()
	_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
	if n, err := conn.Read(got); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("after the task was ended Read = %d, %v; want %v", n, err, io.ErrUnexpectedEOF)
	}
}

// A member reaches tasks of the jobs that it has handed over, and of no others;
// and what it says is a stream only when it says so.
func TestMemberStreamsAreGuarded(t *testing.T) {
	ends, ids := twoMembers(t)
	there := startMember(t, ends[1])
	there.startGang()
	of := func(tenant string) string {
		j, _, err := there.svc.Submit(t.Context(), api.Submission{Tenant: tenant})
		if err != nil {
			t.Fatal(err)
		}
		return j.ID.String()
	}
	for name, c := range map[string]struct{ line, want string }{
		"its own":      {`{"job":"` + of(api.MemberTenant(ids[0])) + `","task":"a-0"}`, "{}\n"}, // control
		"a tenant's":   {`{"job":"` + of("alice") + `","task":"a-0"}`, "E_NOT_FOUND"},
		"the last one": {`{"job":"@last","task":"a-0"}`, "E_NOT_FOUND"},
		"no JSON":      {`GET / HTTP/1.1`, ""},
		"no end":       {strings.Repeat("x", 1<<20), ""},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			s, err := ends[0].Stream(ctx, ids[1], "task-stream/1")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.Reset() }()
			_ = s.SetDeadline(time.Now().Add(time.Minute))
			_, _ = io.WriteString(s, c.line+"\n") // who is not listened to sees it in the answer
			b := make([]byte, 1<<10)
			n, err := s.Read(b)
			if got := string(b[:n]); (c.want == "") != (got == "") || !strings.Contains(got, c.want) || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("answer = %q, %v; want %q", got, err, c.want)
			}
		})
	}
}

// What a member answers that is neither a stream nor a reason is none.
func TestDialMemberIsNotBelieved(t *testing.T) {
	for name, answer := range map[string]func(s bus.Stream){
		"nothing":            func(bus.Stream) {},
		"a reset":            func(s bus.Stream) { _ = s.Reset() },
		"no JSON":            func(s bus.Stream) { _, _ = io.WriteString(s, "SSH-2.0-x\r\n") },
		"a line of no end":   func(s bus.Stream) { _, _ = io.WriteString(s, strings.Repeat(" ", 1<<20)) },
		"an empty problem":   func(s bus.Stream) { _, _ = io.WriteString(s, `{"problem":{}}`+"\n") },
		"a status that lies": func(s bus.Stream) { _, _ = io.WriteString(s, `{"problem":{"status":7,"kind":"E_X"}}`+"\n") },
	} {
		t.Run(name, func(t *testing.T) {
			ends, ids := twoMembers(t)
			ends[1].Handle("task-stream/1", func(_ context.Context, s bus.Stream) {
				_, _ = bufio.NewReader(s).ReadString('\n')
				answer(s)
			})
			far := &errands{h: api.Handed{Tenant: "alice", Key: "k", Member: ids[1], Job: jobspec.NewJobID(time.Now())}}
			e := start(t, func(c *api.Config) { c.Errands, c.Streams = far, ends[0] })
			if conn, err := e.dial("http://"+e.addr, client.WithToken(alice)).Dial(t.Context(), far.h.Job.String(), "a-0"); err == nil {
				conn.Close()
				t.Error("Dial gives a stream")
			}
		})
	}
}
