package api

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// logs streams a job's log as frames or as text. One that the node's stop cuts
// is aborted, so that half a log never looks whole.
func (a *API) logs(w *stream, r *http.Request) error {
	follow, err := queryFlag(r, "follow")
	if err != nil {
		return err
	}
	var out io.Writer = w
	switch r.URL.Query().Get("format") {
	case "", "frames":
		w.Header().Set("Content-Type", wire.TypeFrames)
	case "text":
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		out = &textWriter{out: w}
	case "events":
		return a.logEvents(w, r, follow)
	default:
		return badQuery("format", "frames, text or events")
	}
	if r.URL.Query().Has("after") {
		return badQuery("after", "for format=events only")
	}
	job, err := a.jobOf(r)
	if err != nil {
		return err
	}
	if w.live = follow; follow {
		if _, err := w.Write(nil); err != nil {
			return err
		}
	}
	ctx, cancel := a.streamContext(r)
	defer cancel()
	if err := a.cfg.Service.Logs(ctx, tenantOf(ctx), job.ID.String(), follow, out); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// textWriter turns frames, cut anywhere, into the bytes in them.
type textWriter struct {
	out  io.Writer
	head []byte // of the next frame, as far as it has come
	left uint32 // bytes to come of this frame
}

func (t *textWriter) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		if t.left > 0 {
			chunk := b[:min(uint64(len(b)), uint64(t.left))]
			if _, err := t.out.Write(chunk); err != nil {
				return 0, err
			}
			t.left -= uint32(len(chunk))
			b = b[len(chunk):]
			continue
		}
		take := min(jobspec.LogHeaderSize-len(t.head), len(b))
		t.head = append(t.head, b[:take]...)
		b = b[take:]
		if len(t.head) == jobspec.LogHeaderSize {
			h, err := jobspec.ReadLogHeader(bytes.NewReader(t.head))
			if err != nil {
				return 0, fmt.Errorf("read log: %w", err)
			}
			t.head, t.left = t.head[:0], h.Len
		}
	}
	return n, nil
}
