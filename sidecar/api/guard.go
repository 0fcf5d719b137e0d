package api

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ipdc/ipdc/jobspec"
)

// caller is who sent a request.
type caller struct {
	tenant string
	socket bool
}

type callerKey struct{}

func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}

func tenantOf(ctx context.Context) string { return callerOf(ctx).tenant }

// recovered counts the request, answers for a handler that panicked, and logs.
func (a *API) recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !a.active.enter() {
			writeProblem(w, newProblem(http.StatusServiceUnavailable,
				jobspec.Failure{Kind: jobspec.KindConflict, Detail: "the node is stopping"}))
			return
		}
		defer a.active.leave()
		rw := &response{ResponseWriter: w}
		begin := time.Now()
		defer func() {
			a.metrics.requests.WithLabelValues(cmp.Or(rw.route, "none"), strconv.Itoa(cmp.Or(rw.status, http.StatusOK))).Inc()
		}()
		defer func() {
			if p := recover(); p != nil {
				a.panicked(rw, r, p)
			}
		}()
		next.ServeHTTP(rw, r)
		a.log.Debug("request", "method", r.Method, "path", r.URL.Path, "status", rw.status, "took", time.Since(begin))
	})
}

func (a *API) panicked(w *response, r *http.Request, p any) {
	if p == http.ErrAbortHandler { //nolint:errorlint // net/http compares it so
		panic(p)
	}
	if err, ok := p.(error); ok && w.status != 0 && (r.Context().Err() != nil || errors.Is(err, os.ErrDeadlineExceeded)) {
		panic(http.ErrAbortHandler) // huma's way to say that the client is gone
	}
	id := "urn:ipdc:error:" + rand.Text()
	a.log.Error("handler panicked", "id", id, "method", r.Method, "path", r.URL.Path,
		"panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	if w.status != 0 {
		panic(http.ErrAbortHandler)
	}
	problem := newProblem(http.StatusInternalServerError, jobspec.Failure{
		Kind: jobspec.KindInternal, Detail: "the node could not do its work", Hint: "look for " + id + " in the node's log",
	})
	problem.Instance = id
	writeProblem(w, problem)
}

// response remembers whether an answer was begun.
type response struct {
	http.ResponseWriter
	status int    // 0 before
	route  string // "GET /v1/jobs/{ref}"; "" = none
}

func (w *response) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// guarded lets a request in or refuses it.
func (a *API) guarded(socket bool, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		_ = rc.SetWriteDeadline(time.Now().Add(a.cfg.Timeout)) // a recorder in a test has none
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		ctx, leave, err := a.enter(r, socket)
		if err != nil {
			a.writeError(w, r, err)
			return
		}
		defer leave()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// enter admits a request. Its context knows the caller, and ends when the
// caller's token is revoked.
func (a *API) enter(r *http.Request, socket bool) (context.Context, func(), error) {
	for {
		age := a.sessions.now()
		who, err := a.admit(r, socket)
		if err == nil && !who.socket && who.tenant != "" {
			err = a.sessions.take(who.tenant, a.cfg.Rate, time.Now())
		}
		if err != nil {
			return nil, nil, err
		}
		if ctx, leave, ok := a.sessions.enter(r.Context(), who.tenant, age); ok {
			return context.WithValue(ctx, callerKey{}, who), leave, nil
		}
	}
}

func (a *API) admit(r *http.Request, socket bool) (caller, error) {
	if !socket && !loopbackHost(r.Host) {
		return caller{}, refuse(http.StatusForbidden, jobspec.KindPolicy, "use localhost or 127.0.0.1",
			"the Host header names no loopback address")
	}
	if o := r.Header.Values("Origin"); len(o) > 0 && (socket || len(o) > 1 || o[0] != "http://"+r.Host) {
		return caller{}, refuse(http.StatusForbidden, jobspec.KindPolicy, "", "requests of another origin are refused")
	}
	if e := r.Header.Values("Content-Encoding"); len(e) > 0 && (len(e) > 1 || e[0] != "identity") {
		return caller{}, refuse(http.StatusUnsupportedMediaType, jobspec.KindSpec, "send it as it is",
			"a Content-Encoding is not accepted")
	}
	if q := r.URL.Query(); q.Has("token") || q.Has("access_token") {
		return caller{}, unauthorized("a token in the query ends up in logs and is refused")
	}
	if socket {
		return caller{tenant: TenantLocal, socket: true}, nil
	}
	if r.URL.Path == "/healthz" || r.URL.Path == "/readyz" {
		return caller{}, nil
	}
	return a.authenticate(r)
}

func (a *API) authenticate(r *http.Request) (caller, error) {
	h := r.Header.Values("Authorization")
	if len(h) != 1 {
		return caller{}, unauthorized("this address needs one API token")
	}
	scheme, secret, _ := strings.Cut(h[0], " ")
	if !strings.EqualFold(scheme, "Bearer") || secret == "" || len(secret) > 512 {
		return caller{}, unauthorized("the Authorization header is not Bearer and a token")
	}
	tenant, ok := a.cfg.Tokens.Tenant(r.Context(), sha256.Sum256([]byte(secret)))
	if !ok || tenant == "" {
		return caller{}, unauthorized("the API token is not valid")
	}
	return caller{tenant: tenant}, nil
}

func unauthorized(detail string) *refusal {
	e := refuse(http.StatusUnauthorized, jobspec.KindPolicy,
		"send the header Authorization: Bearer TOKEN, or use the node's unix socket", "%s", detail)
	e.header = http.Header{"Www-Authenticate": {"Bearer"}}
	return e
}

// loopbackHost reports whether a Host header names this machine. A page whose
// name was rebound to 127.0.0.1 sends its own name here.
func loopbackHost(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.IsLoopback()
}

// route finds the endpoint. The mux's own refusals become problems, and no
// path is ever cleaned by a redirect.
func (a *API) route(w http.ResponseWriter, r *http.Request) {
	if p := r.URL.EscapedPath(); p != path.Clean(p) || !strings.HasPrefix(p, "/") {
		a.writeError(w, r, noEndpoint())
		return
	}
	h, pattern := a.mux.Handler(r)
	known, ok := a.queries[pattern]
	switch {
	case !ok:
		a.writeError(w, r, a.muxRefusal(h, r))
	case r.Method == http.MethodHead:
		a.writeError(w, r, &refusal{status: http.StatusMethodNotAllowed, header: http.Header{"Allow": {"GET"}},
			failure: jobspec.Failure{Kind: jobspec.KindPolicy, Detail: "HEAD is not served"}})
	default:
		if rw, ok := w.(*response); ok {
			rw.route = pattern
		}
		err := checkQuery(r.URL.RawQuery, known)
		if err == nil {
			r, err = actFor(r)
		}
		if err != nil {
			a.writeError(w, r, err)
			return
		}
		if a.elsewhere(w, r, pattern) {
			return
		}
		a.mux.ServeHTTP(w, r) // again by the mux, as it sets the path values
	}
}

func noEndpoint() *refusal {
	return refuse(http.StatusNotFound, jobspec.KindNotFound, "GET /openapi.json lists the endpoints", "no such endpoint")
}

// muxRefusal asks the mux's own error handler whether the path is unknown or
// only the method.
func (a *API) muxRefusal(h http.Handler, r *http.Request) *refusal {
	rec := &response{ResponseWriter: discard{}}
	h.ServeHTTP(rec, r)
	if rec.status != http.StatusMethodNotAllowed {
		return noEndpoint()
	}
	methods := slices.DeleteFunc(strings.Split(rec.Header().Get("Allow"), ", "), func(m string) bool { return m == http.MethodHead })
	if own := a.methods[r.URL.Path]; len(own) > 0 {
		methods = own // and not those of a job or CID of this name
	}
	allow := strings.Join(methods, ", ")
	e := refuse(rec.status, jobspec.KindPolicy, "", "this endpoint takes %s only", allow)
	e.header = http.Header{"Allow": {allow}}
	return e
}

// discard is an answer that goes nowhere; only its header is kept.
type discard http.Header

func (d discard) Header() http.Header         { return http.Header(d) }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}

func checkQuery(raw string, known []string) error {
	q, err := url.ParseQuery(raw)
	if err != nil {
		return jobspec.KindSpec.Errorf("the query is not well formed")
	}
	for name, values := range q {
		if slices.Contains(values, "") {
			return jobspec.Failure{
				Kind: jobspec.KindSpec, Where: "query", Detail: fmt.Sprintf("the query parameter %q is empty", name), Hint: "leave it out",
			}.Error()
		}
		if !slices.Contains(known, name) {
			return jobspec.Failure{
				Kind: jobspec.KindSpec, Detail: fmt.Sprintf("unknown query parameter %q", name),
				Hint: "known here: " + strings.Join(known, ", "),
			}.Error()
		}
	}
	return nil
}
