package kubo_test

import (
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
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
			cfg := fake{"block/get": func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				answer(w, r)
			}}.config(t)
			cfg.Answer = 600 * time.Millisecond
			n := open(t, cfg)
			for range 3 {
				_, err := n.Get(t.Context(), sum([]byte("leaf")))
				if !errors.Is(err, ipfs.ErrUnavailable) || jobspec.AsFailure(err).Hint == "" {
					t.Errorf("Get = %v, want ErrUnavailable and what to do", err)
				}
			}
			if got := asked.Load(); got != 1 {
				t.Errorf("Kubo was asked %d times, want once", got)
			}
		})
	}
}

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
