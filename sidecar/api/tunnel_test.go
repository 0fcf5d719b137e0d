package api_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/peering"
	"github.com/ipdc/ipdc/wire/guest"
)

// DialTask leads to the gang of the service, for jobs of the tenant.
func (s *service) DialTask(ctx context.Context, tenant, ref, task string) (*peering.Stream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.find(tenant, ref); err != nil {
		return nil, err
	}
	if s.gang == nil {
		return nil, jobspec.KindConflict.Errorf("no gang of it runs")
	}
	return s.gang(ctx, task)
}

// gangOf makes a task a-0 of which each stream is echoed by a guest, until the
// test ends.
func (e *env) startGang() *peering.Port {
	e.t.Helper()
	self := identity.ID("self")
	x := peering.New(peering.Config{Self: self, Patience: 30 * time.Second})
	g := peering.Gang{Owner: self, ID: "one", Self: "a-0", Nodes: map[string]identity.ID{"a-0": self}}
	dir := filepath.Join(e.t.TempDir(), "peers")
	p, err := x.Open(dir, g, peering.Usage{}, slog.New(slog.DiscardHandler))
	if err != nil {
		e.t.Fatal(err)
	}
	var guests sync.WaitGroup
	for range 4 {
		c, err := net.Dial("unix", filepath.Join(dir, guest.PeersSocket))
		if err != nil {
			e.t.Fatal(err)
		}
		guests.Go(func() { echo(c.(*net.UnixConn)) })
	}
	e.t.Cleanup(func() {
		if err := p.Close(); err != nil {
			e.t.Error(err)
		}
		guests.Wait()
	})
	e.svc.update(func() {
		e.svc.gang = func(ctx context.Context, task string) (*peering.Stream, error) {
			return x.Dial(ctx, g.ForOwner(), task)
		}
	})
	return p
}

// echo is a guest whose program says back what it hears, until its end.
func echo(c *net.UnixConn) {
	defer c.Close()
	_, _ = io.WriteString(c, guest.HelloAccept+"\n")
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		return
	}
	_, _ = c.Write([]byte{guest.Joined})
	pr, pw := io.Pipe()
	var both sync.WaitGroup
	both.Go(func() { _ = pw.CloseWithError(guest.ReceiveFrames(pw, c)) })
	_ = guest.SendFrames(c, pr)
	_ = pr.Close()
	both.Wait()
}

// A connection to a task carries bytes and ends, by the socket and by the port.
func TestDial(t *testing.T) {
	e := start(t)
	p := e.startGang()
	for name, c := range map[string]*client.Client{"socket": e.client(), "port": e.dial("http://"+e.addr, client.WithToken(alice))} {
		t.Run(name, func(t *testing.T) {
			job := e.in(t).submitAs(c)
			conn, err := c.Dial(t.Context(), job, "a-0")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			sent := make([]byte, 3<<20)
			rand.Read(sent)
			var writing sync.WaitGroup
			writing.Go(func() {
				_, err := conn.Write(sent)
				if err = errors.Join(err, conn.(interface{ CloseWrite() error }).CloseWrite()); err != nil {
					t.Error(err)
				}
			})
			got, err := io.ReadAll(conn)
			writing.Wait()
			if err != nil || !bytes.Equal(got, sent) {
				t.Errorf("read %d bytes, %v; want the %d that were sent", len(got), err, len(sent))
			}
			if u := p.Usage(); int(u.In) < len(sent) || int(u.Out) < len(sent) {
				t.Errorf("Usage = %+v, want at least %d both ways", u, len(sent))
			}
		})
	}
}

// A stream that is cut, by the node or by the task, is no end.
func TestDialCut(t *testing.T) {
	for name, cut := range map[string]func(*env, *peering.Port){
		"the node stops": func(e *env, _ *peering.Port) { _ = e.stop() },
		"the task ends":  func(_ *env, p *peering.Port) { _ = p.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			e := start(t)
			p := e.startGang()
			conn, err := e.client().Dial(t.Context(), e.submitAs(e.client()), "a-0")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := conn.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			cut(e, p)
			_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
			if n, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("Read = %d, %v, want %v", n, err, io.ErrUnexpectedEOF)
			}
		})
	}
}

// Who may not see the job, or asks for what is not there, gets no stream.
func TestDialRefused(t *testing.T) {
	e := start(t)
	mine := e.dial("http://"+e.addr, client.WithToken(alice))
	job := e.submitAs(mine)
	refused := func(c *client.Client, task string, want jobspec.Kind) {
		t.Helper()
		conn, err := c.Dial(t.Context(), job, task)
		if !errors.Is(err, want.Error()) {
			t.Errorf("Dial(%q) = %v, %v, want %s", task, conn, err, want)
		}
	}
	refused(mine, "a-0", jobspec.KindConflict)
	e.startGang()
	refused(e.dial("http://"+e.addr, client.WithToken(bob)), "a-0", jobspec.KindNotFound)
	refused(e.dial("http://"+e.addr, client.WithToken("guessed")), "a-0", jobspec.KindPolicy)
	resp, err := http.Get("http://" + e.addr + "/v1/jobs/" + job + "/tasks/a-0/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a token: status %d", resp.StatusCode)
	}
	conn, err := mine.Dial(t.Context(), job, "a-0") // it was there
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

func (e *env) submitAs(c *client.Client) string {
	e.t.Helper()
	j, err := c.Submit(e.t.Context(), jobspec.Spec{Version: jobspec.Version, Run: jobspec.Run{Image: "any", Command: []string{"x"}}}, "")
	if err != nil {
		e.t.Fatal(err)
	}
	return j.ID.String()
}
