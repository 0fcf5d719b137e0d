package api

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
)

// memberProtocol is how members ask about the jobs that they have handed over:
// one request of the API and its answer on a stream, in the form of HTTP/1.1.
const memberProtocol bus.Protocol = "jobs/1"

// ofMember are the endpoints that a member may use, each for its own jobs and
// by their whole id, and those that are asked at the member that has a job.
var ofMember = []string{
	"GET /v1/jobs/{ref}", "DELETE /v1/jobs/{ref}", "POST /v1/jobs/{ref}/stop",
	"GET /v1/jobs/{ref}/events", "GET /v1/jobs/{ref}/logs", "GET /v1/jobs/{ref}/items", "POST /v1/jobs/{ref}/merge", "POST /v1/jobs/{ref}/publish",
}

// Bounds of what a member asks.
const (
	maxMemberAsk  = 64 << 10         // bytes of a request, its body included
	maxMemberBusy = 32               // requests of one member at once
	memberAskTime = 10 * time.Second // to send the request
)

const memberPrefix = "member:"

// MemberTenant is the tenant of the jobs that a member has handed over. No
// token can be of this name.
func MemberTenant(id identity.ID) string { return memberPrefix + id.String() }

const ownerPrefix = "node:"

// OwnerTenant is the tenant of the tasks that this node runs for another owner's
// jobs. No token can be of this name.
func OwnerTenant(id identity.ID) string { return ownerPrefix + id.String() }

// namesTenant reports whether s may be a tenant.
func namesTenant(s string) bool {
	for _, prefix := range []string{memberPrefix, ownerPrefix} {
		if id, ok := strings.CutPrefix(s, prefix); ok {
			_, err := identity.ParseID(id)
			return err == nil
		}
	}
	return tokenName.MatchString(s)
}

// busy counts the requests or streams of each member.
type busy struct {
	mu sync.Mutex
	n  map[identity.ID]int
}

func (b *busy) enter(id identity.ID, most int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.n[id] >= most {
		return false
	}
	if b.n == nil {
		b.n = map[identity.ID]int{}
	}
	b.n[id]++
	return true
}

func (b *busy) leave(id identity.ID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.n[id]--; b.n[id] == 0 {
		delete(b.n, id)
	}
}

// serveMember answers one request of a member.
func (a *API) serveMember(ctx context.Context, s bus.Stream) {
	if !a.members.enter(s.Peer(), maxMemberBusy) {
		_ = s.Reset()
		return
	}
	defer a.members.leave(s.Peer())
	_ = s.SetDeadline(time.Now().Add(memberAskTime))
	r, err := readAsk(s)
	if err != nil {
		a.log.Debug("member asks what cannot be read", "node", s.Peer().Short(), "err", err)
		_ = s.Reset()
		return
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var watching sync.WaitGroup
	defer watching.Wait()
	cut := context.AfterFunc(ctx, func() { _ = s.Reset() })
	watching.Go(func() { watch(ctx, s, a.stopping, cancel) })
	a.answerMember(s, r.WithContext(ctx))
	cut() // an answer that is on its way is not cut
	_ = s.SetDeadline(time.Now())
	cancel(nil)
}

// answerMember answers a request, or resets the stream when the answer cannot
// be ended.
func (a *API) answerMember(s bus.Stream, r *http.Request) {
	w := &memberAnswer{s: s, buf: bufio.NewWriter(s), header: http.Header{}}
	defer func() {
		if recover() != nil || w.finish() != nil { // a.recovered leaves only what aborts an answer
			_ = s.Reset()
		}
	}()
	a.recovered(a.fromMember(s.Peer(), http.HandlerFunc(a.route))).ServeHTTP(w, r)
}

// readAsk reads a whole request.
func readAsk(s io.Reader) (*http.Request, error) {
	r, err := http.ReadRequest(bufio.NewReader(io.LimitReader(s, maxMemberAsk)))
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(b))
	return r, err
}

// watch ends a request whose member is gone, or when the node stops. The member
// sends nothing behind its request, so that whatever ends the reading is the
// stream's end; a deadline of the writer only ends the watch.
func watch(ctx context.Context, s bus.Stream, stopping <-chan struct{}, cancel context.CancelCauseFunc) {
	var reading sync.WaitGroup
	defer reading.Wait()
	reading.Go(func() {
		_, err := s.Read(make([]byte, 1))
		var late net.Error
		if !errors.Is(err, os.ErrDeadlineExceeded) && (!errors.As(err, &late) || !late.Timeout()) {
			cancel(errMemberGone)
		}
	})
	select {
	case <-stopping:
		cancel(errStopping)
	case <-ctx.Done():
	}
}

var errMemberGone = errors.New("the member that asked is gone")

// fromMember lets a member ask about its own jobs, and nothing else.
func (a *API) fromMember(id identity.ID, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(a.cfg.Timeout))
		ctx, leave, err := a.enterMember(r, id)
		if err != nil {
			a.writeError(w, r, err)
			return
		}
		defer leave()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

func (a *API) enterMember(r *http.Request, id identity.ID) (context.Context, func(), error) {
	_, pattern := a.mux.Handler(r)
	if !slices.Contains(ofMember, pattern) {
		return nil, nil, refuse(http.StatusForbidden, jobspec.KindPolicy, "", "members ask about the jobs that they have handed over, and nothing else")
	}
	if _, err := jobspec.ParseJobID(refOf(r)); err != nil {
		return nil, nil, jobspec.KindNotFound.Errorf("no job has this id")
	}
	who := caller{tenant: MemberTenant(id)}
	if err := a.sessions.take(who.tenant, a.cfg.Rate, time.Now()); err != nil {
		return nil, nil, err
	}
	for {
		if ctx, leave, ok := a.sessions.enter(r.Context(), who.tenant, a.sessions.now()); ok {
			return context.WithValue(ctx, callerKey{}, who), leave, nil
		}
	}
}

// memberAnswer writes an answer to a stream, which ends with it.
type memberAnswer struct {
	s      bus.Stream
	buf    *bufio.Writer
	header http.Header
	begun  bool
}

// Header implements http.ResponseWriter.
func (w *memberAnswer) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *memberAnswer) WriteHeader(status int) {
	if w.begun || status < 200 {
		return
	}
	w.begun = true
	w.header.Set("Connection", "close")
	fmt.Fprintf(w.buf, "HTTP/1.1 %d %s\r\n", status, http.StatusText(status))
	_ = w.header.Write(w.buf) // a broken stream is found by Flush
	_, _ = w.buf.WriteString("\r\n")
}

// Write implements io.Writer.
func (w *memberAnswer) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.buf.Write(b)
}

// FlushError is for http.ResponseController.
func (w *memberAnswer) FlushError() error {
	w.WriteHeader(http.StatusOK)
	return w.buf.Flush()
}

// SetWriteDeadline is for http.ResponseController.
func (w *memberAnswer) SetWriteDeadline(t time.Time) error { return w.s.SetDeadline(t) }

func (w *memberAnswer) finish() error {
	err := w.FlushError()
	if err == nil {
		err = w.s.CloseWrite()
	}
	return err
}
