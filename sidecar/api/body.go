package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/ipdc/ipdc/jobspec"
)

// timedBody is a request body that must not stall. The deadline stays after an
// error, else net/http waits for the rest of the body before it answers; at the
// body's end net/http itself lifts it.
type timedBody struct {
	io.ReadCloser
	rc    *http.ResponseController
	stall time.Duration
	whole time.Duration // for all of it; 0 = no bound
	until time.Time     // when that is over
	err   error         // what cut it
}

var errTooLong = errors.New("took too long")

func newTimedBody(r *http.Request, rc *http.ResponseController, stall time.Duration) *timedBody {
	return &timedBody{ReadCloser: r.Body, rc: rc, stall: stall}
}

func (b *timedBody) Read(p []byte) (int, error) {
	now := time.Now()
	if b.whole > 0 && !now.Before(b.until) { // no deadline of the connection's: what it cuts cannot be read on
		b.err = errTooLong
		return 0, b.err
	}
	_ = b.rc.SetReadDeadline(now.Add(b.stall)) // a recorder in a test has none
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}

// cause returns what cut the body, if something did, else err.
func (b *timedBody) cause(err error) error {
	switch {
	case b.err == nil:
		return err
	case errors.Is(b.err, errTooLong):
		return jobspec.Failure{
			Kind: jobspec.KindLimit, Detail: fmt.Sprintf("the upload took over %s, and what had come of it is dropped", b.whole),
			Hint: "send it in parts, or raise the node's setting api-upload-time",
		}.Error()
	case errors.Is(b.err, os.ErrDeadlineExceeded):
		return refuse(http.StatusRequestTimeout, jobspec.KindFetchTimeout, "", "nothing came for %s", b.stall)
	}
	return jobspec.KindCARFormat.Errorf("the upload was cut: %v", b.err)
}

// Room says whether the disk takes more bytes. Errors are of kind E_LIMIT.
type Room interface {
	// Admit makes room first where it can; it is asked before an upload.
	Admit(ctx context.Context, more int64) error
	// Check only looks; it is asked again as the upload goes on.
	Check(ctx context.Context, more int64) error
}

type noBound struct{}

func (noBound) Admit(context.Context, int64) error { return nil }
func (noBound) Check(context.Context, int64) error { return nil }

// timeBody does the same for a body that huma reads.
func (a *API) timeBody(ctx huma.Context, next func(huma.Context)) {
	r, w := humago.Unwrap(ctx)
	r.Body = newTimedBody(r, http.NewResponseController(w), a.cfg.BodyStall)
	next(ctx)
}
