package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// errStopping ends event and log streams when the node stops.
var errStopping = errors.New("the node is stopping")

// heldBack is how much of a stream is kept before the answer begins, so that
// what fails early is a problem with a status and a reason.
const heldBack = 64 << 10

// stream is an answer of unknown length. It is written by one goroutine.
type stream struct {
	http.ResponseWriter
	rc    *http.ResponseController
	stall time.Duration // a write that takes longer fails
	live  bool          // every write is sent at once
	begun bool
	held  []byte
}

func newStream(w http.ResponseWriter, stall time.Duration) *stream {
	return &stream{ResponseWriter: w, rc: http.NewResponseController(w), stall: stall}
}

// Write holds back the beginning and sends the rest.
func (s *stream) Write(b []byte) (int, error) {
	if !s.begun && !s.live && len(s.held)+len(b) <= heldBack {
		s.held = append(s.held, b...)
		return len(b), nil
	}
	if err := s.begin(); err != nil {
		return 0, err
	}
	if err := s.send(b); err != nil || !s.live {
		return len(b), err
	}
	return len(b), s.flush()
}

// begin sends the header and what was held back.
func (s *stream) begin() error {
	if s.begun {
		return nil
	}
	s.begun = true
	s.WriteHeader(http.StatusOK)
	held := s.held
	s.held = nil
	return s.send(held)
}

func (s *stream) send(b []byte) error {
	_ = s.rc.SetWriteDeadline(time.Now().Add(s.stall)) // a recorder in a test has none
	_, err := s.ResponseWriter.Write(b)
	return err
}

func (s *stream) flush() error {
	_ = s.rc.SetWriteDeadline(time.Now().Add(s.stall))
	return s.rc.Flush()
}

// finish ends a stream that is whole.
func (s *stream) finish() error {
	if !s.begun {
		s.Header().Set("Content-Length", strconv.Itoa(len(s.held)))
	}
	return s.begin()
}

// streamContext ends with the request or when the node stops.
func (a *API) streamContext(r *http.Request) (context.Context, context.CancelFunc) {
	return a.untilStop(r.Context())
}

// untilStop ends with ctx or when the node stops.
func (a *API) untilStop(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{}) // closed by the returned function
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-a.stopping:
			cancel(errStopping)
		case <-done:
		}
	})
	return ctx, sync.OnceFunc(func() {
		close(done)
		wg.Wait()
		cancel(nil)
	})
}

// queryFlag reads a boolean query parameter; absent is false.
func queryFlag(r *http.Request, name string) (bool, error) {
	s := r.URL.Query().Get(name)
	if s == "" {
		return false, nil
	}
	v, err := strconv.ParseBool(s)
	if err != nil {
		return false, badQuery(name, "true or false")
	}
	return v, nil
}

func badQuery(name, want string) error {
	return refuseSpec("query."+name, "is not "+want)
}
