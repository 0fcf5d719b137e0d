package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/jobspec"
)

// script answers each connection of an event stream by its next step.
type script struct {
	mu    sync.Mutex
	steps []func(w http.ResponseWriter, r *http.Request)
	asked []string // "path?query last-event-id" of each connection
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked = append(s.asked, strings.TrimSpace(r.URL.RequestURI()+" "+r.Header.Get("Last-Event-ID")))
	step := s.steps[min(len(s.asked), len(s.steps))-1] // the last one again and again
	s.mu.Unlock()
	step(w, r)
}

// connections returns what was asked for so far.
func (s *script) connections() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

func event(w http.ResponseWriter, seq int) {
	fmt.Fprintf(w, "id: %d\nevent: progress\ndata: {\"job\":\"01jd\",\"seq\":%d,\n", seq, seq)
	fmt.Fprintf(w, "data: \"type\":\"progress\",\"detail\":\"%s\"}\n\n", strings.Repeat("x", 9000))
	_ = http.NewResponseController(w).Flush()
}

func cut() { panic(http.ErrAbortHandler) }

func end(w http.ResponseWriter) { fmt.Fprint(w, "event: end\ndata: {}\n\n") }

var fast = client.WithRetry(time.Millisecond, 5*time.Millisecond, 5*time.Second)

func follow(t *testing.T, s *script, opts ...client.Option) (seqs []int64, err error) {
	t.Helper()
	c := serve(t, s.ServeHTTP, append([]client.Option{fast}, opts...)...)
	err = c.Events(t.Context(), "@last", 0, true, func(e jobspec.Event) error {
		seqs = append(seqs, e.Seq)
		return nil
	})
	return seqs, err
}

func TestEventsResume(t *testing.T) {
	s := &script{steps: []func(http.ResponseWriter, *http.Request){
		func(w http.ResponseWriter, _ *http.Request) { event(w, 1); event(w, 2); cut() },
		func(w http.ResponseWriter, _ *http.Request) { event(w, 2); event(w, 3) },                                // a repeated event; ends without end
		func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "id: 4\nevent: progress\ndata: {"); cut() }, // half an event
		func(w http.ResponseWriter, _ *http.Request) { problem(w, 503, "E_CONFLICT", "stopping") },
		func(w http.ResponseWriter, _ *http.Request) { cut() },
		func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, ": hello\n\n"); event(w, 4); end(w) },
	}}
	seqs, err := follow(t, s)
	if diff := cmp.Diff([]int64{1, 2, 3, 4}, seqs); err != nil || diff != "" {
		t.Errorf("Events = %v (-want +got):\n%s", err, diff)
	}
	want := []string{"/v1/jobs/@last/events?after=0&follow=true", "/v1/jobs/01jd/events?after=2&follow=true 2"}
	for range 4 {
		want = append(want, "/v1/jobs/01jd/events?after=3&follow=true 3")
	}
	if diff := cmp.Diff(want, s.connections()); diff != "" {
		t.Errorf("connections (-want +got):\n%s", diff)
	}
}

func TestEventsSilence(t *testing.T) {
	s := &script{steps: []func(http.ResponseWriter, *http.Request){
		func(w http.ResponseWriter, r *http.Request) { event(w, 1); <-r.Context().Done() },
		func(w http.ResponseWriter, _ *http.Request) { end(w) },
	}}
	patient := client.WithRetry(time.Millisecond, 5*time.Millisecond, time.Minute)
	seqs, err := follow(t, s, patient, client.WithSilence(time.Second)) // on a slow machine the end may be late, too
	if err != nil || !slices.Equal(seqs, []int64{1}) || len(s.connections()) < 2 {
		t.Errorf("Events over a dead connection = %v, %v after %d connections", seqs, err, len(s.connections()))
	}
}

func TestEventsGiveUp(t *testing.T) {
	s := &script{steps: []func(http.ResponseWriter, *http.Request){
		func(w http.ResponseWriter, _ *http.Request) { event(w, 1); cut() },
		func(w http.ResponseWriter, _ *http.Request) { cut() },
	}}
	begin := time.Now()
	_, err := follow(t, s, client.WithRetry(time.Millisecond, 5*time.Millisecond, time.Second))
	if err == nil || !strings.Contains(err.Error(), "gave up after 1s") || len(s.connections()) < 3 {
		t.Errorf("Events = %v after %d connections, want to give up", err, len(s.connections()))
	}
	if took := time.Since(begin); took < time.Second {
		t.Errorf("gave up after %s", took)
	}
}

func TestEventsErrors(t *testing.T) {
	for name, c := range map[string]struct {
		step func(w http.ResponseWriter)
		kind jobspec.Kind
	}{
		"refused":          {func(w http.ResponseWriter) { problem(w, 404, "E_NOT_FOUND", "gone") }, jobspec.KindNotFound},
		"refused by limit": {func(w http.ResponseWriter) { problem(w, 503, "E_CONFLICT", "stopping") }, jobspec.KindConflict},
		"error event": {func(w http.ResponseWriter) {
			fmt.Fprint(w, "event: error\ndata: {\"kind\":\"E_LIMIT\",\"detail\":\"x\",\"status\":413}\n\n")
		}, jobspec.KindLimit},
	} {
		t.Run(name, func(t *testing.T) {
			s := &script{steps: []func(http.ResponseWriter, *http.Request){func(w http.ResponseWriter, _ *http.Request) { c.step(w) }}}
			if _, err := follow(t, s); !errors.Is(err, c.kind.Error()) || len(s.connections()) != 1 {
				t.Errorf("Events = %v after %d connections, want %s at once", err, len(s.connections()), c.kind)
			}
		})
	}
	t.Run("refused on resume", func(t *testing.T) {
		s := &script{steps: []func(http.ResponseWriter, *http.Request){
			func(w http.ResponseWriter, _ *http.Request) { event(w, 1); cut() },
			func(w http.ResponseWriter, _ *http.Request) { problem(w, 404, "E_NOT_FOUND", "gone") },
		}}
		if _, err := follow(t, s); !errors.Is(err, jobspec.KindNotFound.Error()) {
			t.Errorf("Events = %v, want E_NOT_FOUND", err)
		}
	})
	t.Run("yield", func(t *testing.T) {
		s := &script{steps: []func(http.ResponseWriter, *http.Request){func(w http.ResponseWriter, _ *http.Request) { event(w, 1) }}}
		enough := errors.New("enough")
		err := serve(t, s.ServeHTTP, fast).Events(t.Context(), "x", 0, true, func(jobspec.Event) error { return enough })
		if err != enough { //nolint:errorlint // as it was given
			t.Errorf("Events = %v, want what yield returned", err)
		}
	})
	t.Run("context", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		stopped := errors.New("stopped by test")
		s := &script{steps: []func(http.ResponseWriter, *http.Request){func(w http.ResponseWriter, r *http.Request) { event(w, 1); <-r.Context().Done() }}}
		err := serve(t, s.ServeHTTP, fast).Events(ctx, "x", 0, true, func(jobspec.Event) error { cancel(stopped); return nil })
		if !errors.Is(err, stopped) {
			t.Errorf("Events = %v, want the cause", err)
		}
	})
	t.Run("endless line", func(t *testing.T) {
		s := &script{steps: []func(http.ResponseWriter, *http.Request){
			func(w http.ResponseWriter, _ *http.Request) {
				for range 3 << 10 {
					if _, err := w.Write(make([]byte, 1024)); err != nil {
						return
					}
				}
			},
		}}
		if _, err := follow(t, s, client.WithRetry(time.Millisecond, time.Millisecond, time.Millisecond)); err == nil {
			t.Error("a line of 3 MiB was read as an event")
		}
	})
}

func TestWait(t *testing.T) {
	states := []string{"running", "running", "failed"}
	var asked []string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Path)
		if strings.HasSuffix(r.URL.Path, "/events") {
			event(w, 1)
			end(w)
			return
		}
		fmt.Fprintf(w, `{"id":"01jd","state":%q}`, states[0])
		states = states[1:]
	}, fast)
	j, err := c.Wait(t.Context(), "@last")
	if err != nil || j.State != jobspec.JobFailed {
		t.Errorf("Wait = %v, %v, want a failed job as data", j.State, err)
	}
	want := []string{"/v1/jobs/@last", "/v1/jobs/01jd/events", "/v1/jobs/01jd", "/v1/jobs/01jd/events", "/v1/jobs/01jd"}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}
