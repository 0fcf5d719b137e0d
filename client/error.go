package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// ErrNoNode means that nothing listens at the client's address: there is no
// socket file, or the connection was refused. The error that wraps it says
// what was tried.
var ErrNoNode = errors.New("no node is listening")

// Error is a refusal by the node. errors.As finds its *[jobspec.FailureError],
// and errors.Is(err, jobspec.KindNotFound.Error()) asks for a kind.
type Error struct {
	Request string       // "GET /v1/jobs/x"
	Problem wire.Problem // as the node sent it
}

// Error returns "KIND: detail", each problem of a spec on a line of its own.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString((&jobspec.FailureError{Failure: e.Problem.Failure()}).Error())
	for _, d := range e.Problem.Errors {
		fmt.Fprintf(&b, "\n  %s: %s", d.Path, d.Detail)
		if d.Hint != "" {
			fmt.Fprintf(&b, " (%s)", d.Hint)
		}
	}
	return b.String()
}

// Failure returns the problem's failure: kind, detail and hint.
func (e *Error) Failure() jobspec.Failure { return e.Problem.Failure() }

// Unwrap returns the failure as a *jobspec.FailureError.
func (e *Error) Unwrap() error { return &jobspec.FailureError{Failure: e.Problem.Failure()} }

// readError turns an answer of status 300 and above into an Error. What is no
// problem document, because something else listens there, is shown in part.
func readError(r request, resp *http.Response) error {
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	var p wire.Problem
	if err == nil && json.Unmarshal(b, &p) == nil && p.Kind != "" {
		return &Error{Request: r.String(), Problem: p}
	}
	if len(b) > 200 {
		b = b[:200]
	}
	return &Error{Request: r.String(), Problem: wire.Problem{
		Title: http.StatusText(resp.StatusCode), Status: resp.StatusCode, Kind: jobspec.KindInternal,
		Detail: fmt.Sprintf("%s: answer of status %d that is not of an ipdc node: %q", r, resp.StatusCode, b),
	}}
}

// transportError turns an error of the connection into what a user can use.
func (c *Client) transportError(r request, err error) error {
	var op *net.OpError
	dial := errors.As(err, &op) && op.Op == "dial"
	if dial && (errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist)) {
		return fmt.Errorf("%w at %s: %w", ErrNoNode, c.addr, op.Err)
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // the rest of it is said here
	}
	return fmt.Errorf("%s at %s: %w", r, c.addr, err)
}
