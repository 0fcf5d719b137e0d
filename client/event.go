package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// retry says how a cut stream is resumed.
type retry struct{ first, longest, giveUp time.Duration }

// Events calls yield for each event of a job with Seq > after, in order, each
// once. With follow it goes on until the job is final or ctx ends, else it
// returns at the last one. An error of yield ends it and is returned.
//
// A stream that was cut, by a restart of the node for instance, is resumed
// where it ended. Events gives up when that has not worked for 30 s (see
// [WithRetry]); a first connection that cannot be made fails at once.
func (c *Client) Events(ctx context.Context, ref string, after int64, follow bool, yield func(jobspec.Event) error) error {
	s := &eventStream{c: c, ref: ref, what: "events", query: url.Values{}, after: strconv.FormatInt(after, 10), follow: follow}
	s.take = func(m message) error {
		var ev jobspec.Event
		if err := json.Unmarshal(m.data, &ev); err != nil {
			return fmt.Errorf("read event: %w", err)
		}
		if ev.Seq <= after {
			return nil
		}
		after = ev.Seq
		s.ref, s.after = ev.Job.String(), strconv.FormatInt(after, 10) // by id from here on: @last may name another job later
		return yield(ev)
	}
	return s.read(ctx)
}

// read makes connections until one of them was read to its end.
func (s *eventStream) read(ctx context.Context) error {
	c := s.c
	pause := c.retry.first
	for {
		s.alive = time.Time{}
		err := s.run(ctx)
		if err == nil || ctx.Err() != nil || !errors.Is(err, errCut) {
			return err
		}
		if !s.alive.IsZero() {
			s.lastAlive, pause = s.alive, c.retry.first
		}
		if time.Since(s.lastAlive) > c.retry.giveUp {
			return fmt.Errorf("gave up after %s: %w", c.retry.giveUp, err)
		}
		// Between half and the whole of it, so that many clients of a node
		// that restarted do not come back at once.
		if err := sleep(ctx, pause/2+rand.N(pause/2+1)); err != nil {
			return err
		}
		pause = min(2*pause, c.retry.longest)
	}
}

// errCut means that a stream ended before its end and may be resumed.
var errCut = errors.New("event stream was cut")

// eventStream is the state of one stream of a job's events across connections.
type eventStream struct {
	c         *Client
	ref       string
	what      string              // the last element of its path
	query     url.Values          //
	after     string              // id of the last message that was taken; "" = none
	follow    bool                //
	take      func(message) error // gets each message but the last, and sets after
	alive     time.Time           // last line on this connection
	lastAlive time.Time           // last line on an earlier one, or the first connection; zero before it
}

// run makes one connection and reads it to its end.
func (s *eventStream) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silent := time.AfterFunc(s.c.silence, func() {
		cancel(fmt.Errorf("%w: nothing came for %s", errCut, s.c.silence))
	})
	defer silent.Stop()

	resp, err := s.c.send(ctx, s.request())
	if err != nil {
		return s.connectError(ctx, err)
	}
	defer resp.Body.Close()
	if s.lastAlive.IsZero() {
		s.lastAlive = time.Now()
	}
	in := newSSE(resp.Body, func() {
		s.alive = time.Now()
		silent.Reset(s.c.silence)
	})
	for {
		m, err := in.next()
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				return cause
			}
			return fmt.Errorf("%w: %w", errCut, err)
		}
		if end, err := s.handle(m); end || err != nil {
			return err
		}
	}
}

func (s *eventStream) request() request {
	r := request{
		method: http.MethodGet, path: []string{"v1", "jobs", s.ref, s.what},
		query:  maps.Clone(s.query),
		header: http.Header{"Accept": {wire.TypeEvents}},
	}
	if s.follow {
		r.query.Set("follow", "true")
	}
	if s.after != "" {
		r.query.Set("after", s.after)
	}
	if s.after != "" && !s.lastAlive.IsZero() {
		r.header.Set("Last-Event-ID", s.after)
	}
	return r
}

// connectError decides whether a connection that was not made is worth
// another try: only once an earlier one stood, and not against a refusal.
func (s *eventStream) connectError(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, errCut) {
		return cause
	}
	var refusal *Error
	if s.lastAlive.IsZero() || (errors.As(err, &refusal) && refusal.Problem.Status != http.StatusServiceUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", errCut, err)
}

// handle takes one message; end is true after the last one.
func (s *eventStream) handle(m message) (end bool, err error) {
	switch m.event {
	case wire.StreamEnd:
		return true, nil
	case wire.StreamError:
		e := &Error{Request: s.request().String()}
		if err := json.Unmarshal(m.data, &e.Problem); err != nil {
			return true, fmt.Errorf("read stream error: %w", err)
		}
		return true, e
	}
	return false, s.take(m)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
