package api

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// LogPlace is a place in a job's log: so many bytes of one attempt's output.
// The zero value is the beginning.
type LogPlace struct {
	Task, Try int
	Offset    int64
}

// LogPiece is some output of one attempt.
type LogPiece struct {
	End    LogPlace // behind it
	Stream jobspec.LogStream
	Data   []byte
}

// String returns "task.try.offset".
func (p LogPlace) String() string { return fmt.Sprintf("%d.%d.%d", p.Task, p.Try, p.Offset) }

// Of reports whether p is in the log of the attempt.
func (p LogPlace) Of(a jobspec.Attempt) bool { return a.ID.Task == p.Task && a.ID.Try == p.Try }

func parseLogPlace(s string) (p LogPlace, err error) {
	part := strings.Split(s, ".")
	if len(part) != 3 {
		return p, badQuery("after", "the id of an event of this log")
	}
	task, err1 := strconv.ParseUint(part[0], 10, 31)
	try, err2 := strconv.ParseUint(part[1], 10, 31)
	offset, err3 := strconv.ParseInt(part[2], 10, 64)
	p = LogPlace{Task: int(task), Try: int(try), Offset: offset}
	if err1 != nil || err2 != nil || err3 != nil || offset < 0 || p.String() != s {
		return p, badQuery("after", "the id of an event of this log")
	}
	return p, nil
}

// logEvents streams a job's log as server-sent events, which resume as those
// of its history do.
func (a *API) logEvents(w *stream, r *http.Request, follow bool) (err error) {
	var after LogPlace
	for _, s := range []string{r.URL.Query().Get("after"), r.Header.Get("Last-Event-ID")} {
		if s == "" {
			continue
		}
		if after, err = parseLogPlace(s); err != nil {
			return err
		}
	}
	job, err := a.jobOf(r)
	if err != nil {
		return err
	}
	return a.stream(w, r, func(ctx context.Context, send func(message) error) error {
		return a.cfg.Service.LogEvents(ctx, tenantOf(ctx), job.ID.String(), r.URL.Query().Get("task"), after, follow, func(p LogPiece) error {
			if len(p.Data) == 0 {
				return nil
			}
			line := wire.LogLine{Task: p.End.Task, Stream: wire.LogStdout}
			if p.Stream == jobspec.LogStderr {
				line.Stream = wire.LogStderr
			}
			if utf8.Valid(p.Data) {
				line.Text = string(p.Data)
			} else {
				line.Bytes = p.Data
			}
			return send(message{p.End.String(), "log", line})
		})
	})
}
