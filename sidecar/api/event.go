package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// buffered is how many events are ahead of a slow reader. They are read from
// the record, so that one who falls behind waits and loses nothing.
const buffered = 256

// events streams a job's history as server-sent events. A reader that takes
// nothing for Config.EventStall is cut, and resumes with Last-Event-ID.
// Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
func (a *API) events(w *stream, r *http.Request) error {
	after, err := eventsAfter(r)
	if err != nil {
		return err
	}
	follow, err := queryFlag(r, "follow")
	if err != nil {
		return err
	}
	job, err := a.jobOf(r)
	if err != nil {
		return err
	}
	return a.stream(w, r, func(ctx context.Context, send func(message) error) error {
		return a.cfg.Service.Events(ctx, tenantOf(ctx), job.ID.String(), after, follow, func(e jobspec.Event) error {
			return send(message{strconv.FormatInt(e.Seq, 10), string(e.Type), e})
		})
	})
}

// message is one server-sent event.
type message struct {
	id, event string
	data      any // becomes JSON
}

// stream answers with server-sent events until produce returns. produce waits
// in send for a slow reader, until that is cut.
func (a *API) stream(w *stream, r *http.Request, produce func(ctx context.Context, send func(message) error) error) error {
	w.stall = a.cfg.EventStall
	w.Header().Set("Content-Type", wire.TypeEvents)
	if err := w.begin(); err != nil {
		return err
	}
	if err := w.flush(); err != nil {
		return err
	}

	ctx, cancel := a.streamContext(r)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	events := make(chan message, buffered) // closed by feed
	g.Go(func() error { return a.writeEvents(ctx, w, events) })
	defer func() { _ = g.Wait() }() // also when the service panics
	readErr := feed(ctx, events, produce)
	if err := g.Wait(); err != nil {
		readErr = err
	}
	return a.endEvents(r, w, readErr)
}

// feed gives the writer what produce sends. It waits for a slow one until that
// gives up.
func feed(ctx context.Context, events chan<- message, produce func(ctx context.Context, send func(message) error) error) error {
	defer close(events)
	err := produce(ctx, func(m message) error {
		select {
		case events <- m:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// writeEvents sends events until the channel is closed or ctx ends.
func (a *API) writeEvents(ctx context.Context, w *stream, events <-chan message) error {
	beat := time.NewTicker(a.cfg.Heartbeat)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-beat.C:
			if err := w.send([]byte(": still here\n\n")); err != nil {
				return err
			}
		case e, ok := <-events:
			if !ok {
				return nil
			}
			beat.Reset(a.cfg.Heartbeat)
			b, err := json.Marshal(e.data)
			if err != nil {
				return fmt.Errorf("encode event %s: %w", e.id, err)
			}
			if err := w.send(fmt.Appendf(nil, "id: %s\nevent: %s\ndata: %s\n\n", e.id, e.event, b)); err != nil {
				return err
			}
		}
		if len(events) == 0 {
			if err := w.flush(); err != nil {
				return err
			}
		}
	}
}

// endEvents says how the stream ended. One that the node's stop ended, or
// that the reader left, is cut without a word.
func (a *API) endEvents(r *http.Request, w *stream, err error) error {
	switch {
	case err == nil:
		return w.send([]byte("event: " + wire.StreamEnd + "\ndata: {}\n\n"))
	case errors.Is(err, errStopping) || r.Context().Err() != nil:
		return err
	}
	b, encodeErr := json.Marshal(a.problem(r.Context(), err))
	if encodeErr != nil {
		return fmt.Errorf("encode problem: %w", encodeErr)
	}
	return w.send(fmt.Appendf(nil, "event: %s\ndata: %s\n\n", wire.StreamError, b))
}

// jobOf returns the job that the path names, so that a stream of no job is a
// problem, and @last means the same job to its end.
func (a *API) jobOf(r *http.Request) (wire.Job, error) {
	ref := r.PathValue("ref")
	if err := checkRef(ref); err != nil {
		return wire.Job{}, err
	}
	return a.cfg.Service.Job(r.Context(), tenantOf(r.Context()), ref)
}

// eventsAfter is where to begin. The header wins, as a browser that reconnects
// repeats the query of the first time. A query that is wrong is refused all
// the same.
func eventsAfter(r *http.Request) (n int64, err error) {
	for _, s := range []string{r.URL.Query().Get("after"), r.Header.Get("Last-Event-ID")} {
		if s == "" {
			continue
		}
		if n, err = strconv.ParseInt(s, 10, 64); err != nil || n < 0 {
			return 0, badQuery("after", "the number of an event, as Last-Event-ID or after")
		}
	}
	return n, nil
}
