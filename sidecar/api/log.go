package api

import (
	"context"
	"net/http"
)

// logs streams a job's log as text or as events. A text that the node's stop
// cuts is aborted, so that half a log never looks whole.
func (a *API) logs(w *stream, r *http.Request) error {
	follow, err := queryFlag(r, "follow")
	if err != nil {
		return err
	}
	switch r.URL.Query().Get("format") {
	case "", "text":
	case "events":
		return a.logEvents(w, r, follow)
	default:
		return badQuery("format", "text or events")
	}
	if r.URL.Query().Has("after") {
		return badQuery("after", "for format=events only")
	}
	job, err := a.jobOf(r)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.live = follow
	ctx, cancel := a.streamContext(r)
	defer cancel()
	err = a.cfg.Service.LogEvents(ctx, tenantOf(ctx), job.ID.String(), r.URL.Query().Get("task"), LogPlace{}, follow, func(p LogPiece) error {
		_, err := w.Write(p.Data)
		return err
	})
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return err
}
