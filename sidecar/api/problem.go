package api

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"syscall"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

const typeProblem = "application/problem+json"

// refusal is an answer that HTTP itself asks for, with a status that is not of
// the table: 401, 405, 415 and their like.
type refusal struct {
	status  int
	header  http.Header
	failure jobspec.Failure
}

func (e *refusal) Error() string { return e.failure.Error().Error() }

// Unwrap returns what the refusal is to all who do not speak HTTP.
func (e *refusal) Unwrap() error { return e.failure.Error() }

func refuse(status int, k jobspec.Kind, hint, format string, a ...any) *refusal {
	return &refusal{status: status, failure: jobspec.Failure{Kind: k, Detail: fmt.Sprintf(format, a...), Hint: hint}}
}

// problemError is a wire.Problem as huma wants errors.
type problemError struct{ wire.Problem }

func (e problemError) Error() string             { return e.Detail }
func (e problemError) GetStatus() int            { return e.Status }
func (e problemError) ContentType(string) string { return typeProblem }

// problem turns err into the answer for the caller of ctx. A fault of the node
// itself is logged under an id. Over the port, only the id is told, as the
// text may name files of the host; the socket belongs to the node's own user.
func (a *API) problem(ctx context.Context, err error) wire.Problem {
	var ref *refusal
	if errors.As(err, &ref) {
		return newProblem(ref.status, ref.failure)
	}
	f := jobspec.AsFailure(err)
	switch {
	case errors.Is(err, syscall.ENOSPC):
		a.log.Error("disk is full", "err", err)
		f = jobspec.Failure{Kind: jobspec.KindQuota, Detail: "no space is left on the node's disk", Hint: "free some: ipdc job prune, ipdc node gc"}
	case f.Kind == jobspec.KindInternal && ctx.Err() != nil:
		return newProblem(http.StatusServiceUnavailable, jobspec.Failure{Kind: f.Kind, Detail: "the request was cut short"})
	}
	p := newProblem(Status(f.Kind), f)
	if p.Status == http.StatusInternalServerError {
		p.Instance = "urn:ipdc:error:" + rand.Text()
		a.log.Error("request failed", "id", p.Instance, "err", err)
		if !callerOf(ctx).socket {
			p.Detail, p.Where = "the node could not do its work", ""
		}
		p.Hint = "look for " + p.Instance + " in the node's log"
	}
	var all *jobspec.Problems
	if errors.As(err, &all) {
		for _, q := range all.List {
			p.Errors = append(p.Errors, wire.ProblemDetail{Path: q.Path, Detail: q.Detail, Hint: q.Hint})
		}
	}
	return p
}

func newProblem(status int, f jobspec.Failure) wire.Problem {
	return wire.Problem{
		Title: http.StatusText(status), Status: status,
		Kind: f.Kind, Where: f.Where, Detail: f.Detail, Hint: f.Hint,
	}
}

// fail is how huma's handlers return an error.
func (a *API) fail(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	return problemError{a.problem(ctx, err)}
}

// writeError answers with a problem. Nothing may have been written before.
func (a *API) writeError(w http.ResponseWriter, r *http.Request, err error) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(a.cfg.Timeout)) // a stream had its own
	var ref *refusal
	if errors.As(err, &ref) {
		for k, v := range ref.header {
			w.Header()[k] = v
		}
	}
	writeProblem(w, a.problem(r.Context(), err))
}

func writeProblem(w http.ResponseWriter, p wire.Problem) {
	b, err := json.Marshal(p)
	if err != nil {
		panic(fmt.Errorf("encode problem: %w", err))
	}
	h := w.Header()
	h.Del("Content-Disposition")
	h.Set("Content-Type", typeProblem)
	h.Set("Content-Length", fmt.Sprint(len(b)+1))
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(b, '\n')) // who does not read it is gone
}
