package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// Bounds of what a member answers.
const (
	maxMemberJob     = 64 << 20         // bytes of a job with its attempts
	maxMemberProblem = 1 << 20          // bytes
	maxMemberHead    = 64 << 10         // bytes before the body
	memberDial       = 10 * time.Second // to reach it
	forceParam       = "force"
	mergePath        = "/merge"
	publishPath      = "/publish"
)

// refOf is the job that a path below /v1/jobs names; "" = none.
func refOf(r *http.Request) string {
	part := strings.Split(r.URL.EscapedPath(), "/")
	if len(part) < 4 {
		return ""
	}
	ref, err := url.PathUnescape(part[3])
	if err != nil {
		return ""
	}
	return ref
}

// elsewhere reports whether a request is about a job that a member has, and
// has then answered it.
func (a *API) elsewhere(w http.ResponseWriter, r *http.Request, pattern string) bool {
	if a.cfg.Errands == nil || !slices.Contains(ofMember, pattern) || checkRef(refOf(r)) != nil {
		return false
	}
	h, ok, err := a.cfg.Errands.Handed(r.Context(), tenantOf(r.Context()), refOf(r))
	if err == nil && !ok {
		return false
	}
	var force bool
	if err == nil {
		force, err = queryFlag(r, forceParam)
	}
	if err == nil {
		err = a.forward(w, r, h)
	}
	if force && r.Method == http.MethodDelete && r.Context().Err() == nil && errors.As(err, new(*awayError)) {
		a.log.Info("a job is given up, as its member cannot be reached", "job", h.Job, "node", h.Member.Short(), "err", err)
		if err = a.cfg.Errands.Forget(r.Context(), h); err == nil {
			w.WriteHeader(http.StatusNoContent)
		}
	}
	if err != nil {
		a.writeError(w, r, err)
	}
	return true
}

// forward asks the member and passes its answer on. It returns an error only
// when nothing was answered yet.
func (a *API) forward(w http.ResponseWriter, r *http.Request, h Handed) error {
	s, err := a.reach(r.Context(), h, memberProtocol)
	if err != nil {
		return err
	}
	defer s.Close()
	defer context.AfterFunc(r.Context(), func() { _ = s.Reset() })()
	_ = s.SetDeadline(time.Now().Add(a.cfg.Timeout))
	ask, err := a.ask(w, r, h)
	if err == nil {
		err = ask.Write(s)
	}
	if err != nil {
		return unreachable(h, err)
	}
	if strings.HasSuffix(ask.URL.Path, mergePath) { // takes as long as it takes; who asked may leave
		_ = s.SetDeadline(time.Time{})
		_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
	}
	in := &io.LimitedReader{R: s, N: maxMemberHead}
	resp, err := http.ReadResponse(bufio.NewReader(in), ask)
	if err != nil {
		return unreachable(h, err)
	}
	defer resp.Body.Close()
	in.N = math.MaxInt64 // who reads the body bounds it
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch {
	case r.Method == http.MethodDelete && (resp.StatusCode == http.StatusNoContent || resp.StatusCode == http.StatusNotFound):
		err = a.cfg.Errands.Forget(r.Context(), h)
		if err == nil {
			w.WriteHeader(http.StatusNoContent)
		}
		return err
	case resp.StatusCode >= 400:
		return a.problemOf(resp, h)
	case resp.StatusCode == http.StatusOK && media == "application/json":
		b, err := io.ReadAll(io.LimitReader(resp.Body, maxMemberJob+1))
		if err != nil {
			return unreachable(h, err)
		}
		if strings.HasSuffix(ask.URL.Path, mergePath) {
			return passMerged(w, b, h)
		}
		if strings.HasSuffix(ask.URL.Path, publishPath) {
			return passDeliveries(w, b, h)
		}
		return a.passJob(w, r, b, h)
	case resp.StatusCode == http.StatusOK && (media == wire.TypeEvents || media == wire.TypeLines || media == "text/plain"):
		return a.passStream(w, s, resp)
	}
	return fmt.Errorf("%s answered %d, %s", h.Member, resp.StatusCode, media)
}

// reach opens a stream to the member that has the job.
func (a *API) reach(ctx context.Context, h Handed, p bus.Protocol) (bus.Stream, error) {
	if a.cfg.Streams == nil {
		return nil, unreachable(h, bus.ErrUnavailable)
	}
	ctx, cancel := context.WithTimeout(ctx, memberDial)
	defer cancel()
	s, err := a.cfg.Streams.Stream(ctx, h.Member, p)
	if err != nil {
		return nil, unreachable(h, err)
	}
	return s, nil
}

// ask is the request for the member: the same endpoint, of the job's id there.
func (a *API) ask(w http.ResponseWriter, r *http.Request, h Handed) (*http.Request, error) {
	const most = maxMemberAsk / 2
	body, err := io.ReadAll(io.LimitReader(newTimedBody(r, http.NewResponseController(w), a.cfg.BodyStall), most+1))
	if err != nil {
		return nil, err
	}
	if len(body) > most {
		return nil, jobspec.KindLimit.Errorf("the request has over %d bytes, more than a member is sent", most)
	}
	part := strings.Split(r.URL.EscapedPath(), "/")
	part[3] = h.Job.String()
	q := r.URL.Query()
	q.Del(tenantParam)
	q.Del(forceParam) // it is about this node's record
	u := url.URL{Scheme: "http", Host: "member", Path: strings.Join(part, "/"), RawQuery: q.Encode()}
	ask, err := http.NewRequestWithContext(r.Context(), r.Method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"Accept", "Content-Type", "Last-Event-ID"} {
		if v := r.Header.Get(name); v != "" {
			ask.Header.Set(name, v)
		}
	}
	return ask, nil
}

// awayError says that the member that has a job cannot be reached.
type awayError struct{ error }

func (e *awayError) Unwrap() error { return e.error }

func unreachable(h Handed, err error) error {
	return &awayError{jobspec.Failure{
		Kind: jobspec.KindLost, Where: "job " + h.Job.String(),
		Detail: fmt.Sprintf("member %s, which has the job, cannot be reached: %v", h.Member, err),
		Hint: "the job may go on there; ask again when `ipdc peers` lists the member. `ipdc job list` shows what was last known. " +
			"If it is gone for good, ipdc job rm --force " + h.Job.String() + " gives the job up",
	}.Error()}
}

// problemOf is the member's refusal, in its own words.
func (a *API) problemOf(resp *http.Response, h Handed) error {
	var p wire.Problem
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxMemberProblem)).Decode(&p); err != nil || p.Kind == "" {
		return fmt.Errorf("%s answered with status %d and no reason", h.Member, resp.StatusCode)
	}
	return refusedBy(h, resp.StatusCode, p)
}

// refusedBy is a member's refusal; status is not by its word alone.
func refusedBy(h Handed, status int, p wire.Problem) error {
	f := p.Failure()
	f.Detail = fmt.Sprintf("%s, which has the job: %s", h.Member, f.Detail)
	if f.Kind == jobspec.KindNotFound {
		f.Hint = "the member has removed it; `ipdc job rm " + h.Job.String() + "` forgets it here too"
	}
	return &refusal{status: status, failure: f}
}

// passJob answers with the member's job, as one of the tenant here.
func (a *API) passJob(w http.ResponseWriter, r *http.Request, b []byte, h Handed) error {
	var j wire.Job
	if err := aboutJob(b, &j, func() jobspec.JobID { return j.ID }, h); err != nil {
		return err
	}
	j.Tenant, j.Member = h.Tenant, h.Member.String()
	if err := a.cfg.Errands.Learn(r.Context(), h, j); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(j)
}

// aboutJob reads an answer, which is of the job that was asked for.
func aboutJob(b []byte, v any, id func() jobspec.JobID, h Handed) (err error) {
	if len(b) > maxMemberJob {
		err = fmt.Errorf("more than %d bytes", maxMemberJob)
	} else if err = json.Unmarshal(b, v); err == nil && id() != h.Job {
		err = fmt.Errorf("it is job %q", id())
	}
	if err != nil {
		return fmt.Errorf("%s answered what is not job %s: %w", h.Member, h.Job, err)
	}
	return nil
}

func passMerged(w http.ResponseWriter, b []byte, h Handed) error {
	var m wire.Merging
	if err := aboutJob(b, &m, func() jobspec.JobID { return m.Job }, h); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(m)
}

func passDeliveries(w http.ResponseWriter, b []byte, h Handed) error {
	var d wire.Deliveries
	if err := aboutJob(b, &d, func() jobspec.JobID { return d.Job }, h); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(d)
}

// passStream passes events or a log on until their end. A stream that was cut
// is cut here too, and may be resumed.
func (a *API) passStream(w http.ResponseWriter, s bus.Stream, resp *http.Response) error {
	out, silence := newStream(w, a.cfg.StreamStall), a.cfg.StreamStall
	if media := resp.Header.Get("Content-Type"); strings.HasPrefix(media, wire.TypeEvents) {
		out.stall, silence = a.cfg.EventStall, 3*a.cfg.Heartbeat
	}
	out.live = true
	out.Header().Set("Content-Type", resp.Header.Get("Content-Type"))
	if n := resp.Header.Get("Content-Length"); n != "" {
		out.Header().Set("Content-Length", n)
	}
	_, err := out.Write(nil)
	b := make([]byte, 32<<10)
	for err == nil {
		_ = s.SetDeadline(time.Now().Add(silence))
		var n int
		n, err = resp.Body.Read(b)
		if n > 0 {
			if _, werr := out.Write(b[:n]); werr != nil {
				err = werr
			}
		}
	}
	if err != io.EOF { //nolint:errorlint // as io.Reader says
		a.log.Debug("stream of a member cut", "node", s.Peer().Short(), "err", err)
		panic(http.ErrAbortHandler)
	}
	return nil
}
