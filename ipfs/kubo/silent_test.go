package kubo_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/jobspec"
)

// A Kubo that takes calls and does not answer, or drips, is given a bounded
// time by the first who asks; the next ones do not wait for it at all.
func TestF35SilentKubo(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"hangs": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"one byte at a time": func(w http.ResponseWriter, r *http.Request) {
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for r.Context().Err() == nil {
				_, _ = w.Write([]byte{0})
				w.(http.Flusher).Flush()
				<-tick.C
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int64
			kubo := fake{"block/get": func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				answer(w, r)
			}}
			inMemory(t, kubo, time.Minute, func(t *testing.T, n ipfs.Getter) {
				for range 3 {
					_, err := n.Get(t.Context(), sum([]byte("leaf")))
					if !errors.Is(err, ipfs.ErrUnavailable) || jobspec.AsFailure(err).Hint == "" {
						t.Errorf("Get = %v, want ErrUnavailable and what to do", err)
					}
				}
			})
			if got := asked.Load(); got != 1 {
				t.Errorf("Kubo was asked %d times, want once", got)
			}
		})
	}
}

// A block that no peer has in a time longer than Kubo's own answers may take is
// a block that is missing: Kubo is not taken for silent.
func TestMissingForLong(t *testing.T) {
	leaf := []byte("leaf")
	kubo := fake{"block/get": func(w http.ResponseWriter, r *http.Request) {
		switch q := r.URL.Query(); {
		case q.Get("arg") == sum(leaf).String():
			_, _ = w.Write(leaf)
		case q.Get("offline") == "true":
			says(500, absent)(w, r)
		default:
			<-r.Context().Done() // it looks for a peer
		}
	}}
	inMemory(t, kubo, 5*time.Minute, func(t *testing.T, n ipfs.Getter) {
		if _, err := n.Get(t.Context(), sum([]byte("nobody's"))); jobspec.AsFailure(err).Kind != jobspec.KindFetchTimeout {
			t.Errorf("Get = %v, want E_FETCH_TIMEOUT", err)
		}
		if _, err := n.Get(t.Context(), sum(leaf)); err != nil {
			t.Errorf("Get of what Kubo has = %v", err)
		}
	})
}

// A Kubo that answers others is asked again at once: one call was slow, not it.
func TestSilentNoMore(t *testing.T) {
	leaf, late := []byte("leaf"), []byte("late")
	kubo := fake{"block/get": func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("arg") {
		case sum(leaf).String():
			_, _ = w.Write(leaf)
		case sum(late).String():
			<-time.After(35 * time.Second)
			_, _ = w.Write(late)
		default:
			<-r.Context().Done()
		}
	}}
	inMemory(t, kubo, time.Minute, func(t *testing.T, n ipfs.Getter) {
		var running sync.WaitGroup
		running.Go(func() { // until a minute from now, and silent for ten seconds more
			if _, err := n.Get(t.Context(), sum([]byte("slow"))); !errors.Is(err, ipfs.ErrUnavailable) {
				t.Errorf("Get of a slow block = %v, want ErrUnavailable", err)
			}
		})
		<-time.After(30 * time.Second)
		if _, err := n.Get(t.Context(), sum(late)); err != nil {
			t.Errorf("Get of a late block = %v", err)
		}
		running.Wait()
		if _, err := n.Get(t.Context(), sum(leaf)); err != nil {
			t.Errorf("Get after an answer = %v", err)
		}
	})
}

// inMemory lets do use a node on a Kubo that answers within a minute, over
// connections and with a clock that are in memory.
func inMemory(t *testing.T, kubo fake, fetch time.Duration, do func(*testing.T, ipfs.Getter)) {
	t.Helper()
	cfg := kubo.config(t)
	cfg.Answer, cfg.Fetch = time.Minute, fetch
	n := open(t, cfg)
	synctest.Test(t, func(t *testing.T) {
		l := pipes{make(chan net.Conn), make(chan struct{})}
		var running sync.WaitGroup
		trans, srv := &http.Transport{DialContext: l.dial}, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			running.Add(1)
			defer running.Done()
			kubo.ServeHTTP(w, r)
		})}
		n.Through(trans)
		running.Go(func() { _ = srv.Serve(l) })
		defer running.Wait()
		defer srv.Close()
		defer trans.CloseIdleConnections()
		do(t, n)
	})
}

// pipes is a listener in memory.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{} // by Close, which the server calls once
}

func (p pipes) dial(context.Context, string, string) (net.Conn, error) {
	here, there := net.Pipe()
	p.conns <- there
	return here, nil
}

// Accept implements net.Listener.
func (p pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (p pipes) Close() error { close(p.closed); return nil }

// Addr implements net.Listener.
func (p pipes) Addr() net.Addr { return &net.UnixAddr{} }

// A full disk of Kubo's fails what is to be stored there, in words, and may be
// mended.
func TestF19KuboDiskFull(t *testing.T) {
	const said = `{"Message":"write /data/blocks/put-1: no space left on device","Code":0,"Type":"error"}`
	var full atomic.Bool
	leaf := []byte("leaf")
	n := open(t, fake{"dag/import": func(w http.ResponseWriter, r *http.Request) {
		if full.Load() {
			says(500, said)(w, r)
			return
		}
		says(200, `{"Stats":{"BlockCount":2}}`)(w, r)
	}, "pin/rm": says(200, `{"Pins":["x"]}`)}.config(t))
	add := func() error {
		_, err := n.Add(t.Context(), "p", func(s ipfs.Session) (jobspec.CID, error) { return sum(leaf), s.Put(t.Context(), sum(leaf), leaf) })
		return err
	}
	full.Store(true)
	err := add()
	if f := jobspec.AsFailure(err); !errors.Is(err, ipfs.ErrUnavailable) || f.Hint == "" {
		t.Errorf("Add = %v, hint %q, want ErrUnavailable and what to do", err, f.Hint)
	}
	full.Store(false)
	if err := add(); errors.Is(err, ipfs.ErrUnavailable) {
		t.Errorf("Add with space again = %v", err)
	}
}
