package kubo

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/internal/dag"
	"github.com/ipdc/ipdc/jobspec"
)

const (
	callTimeout = time.Minute // default of Config.Answer
	maxAnswer   = 1 << 20     // bytes of an answer that is no block
	dialTries   = 5           // while a Kubo restarts
	minMinor    = 40          // Kubo 0.40 is the first that takes blocks of up to 2 MiB
)

// errMissing is the answer for a block that Kubo does not have.
var errMissing = errors.New("block is not stored")

// unavailable is an error that is ipfs.ErrUnavailable: the call was in order.
type unavailable struct{ error }

func (unavailable) Is(target error) bool { return target == ipfs.ErrUnavailable }
func (u unavailable) Unwrap() error      { return u.error }

// rpc speaks Kubo's RPC: https://docs.ipfs.tech/reference/kubo/rpc/.
type rpc struct {
	addr   Addr
	client *http.Client
	trans  *http.Transport
	answer time.Duration // how long a call may take that needs no more than Kubo's own disk
	silent atomic.Int64  // until when Kubo is not asked, as it did not answer; Unix nanoseconds
}

func newRPC(addr Addr, answer time.Duration) *rpc {
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	t := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, addr.network, addr.host)
		},
		MaxIdleConnsPerHost: localCalls + fetchCalls,
		IdleConnTimeout:     time.Minute,
		TLSHandshakeTimeout: 10 * time.Second,
		DisableCompression:  true,
	}
	return &rpc{addr: addr, trans: t, answer: cmp.Or(answer, callTimeout), client: &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (r *rpc) close() { r.trans.CloseIdleConnections() }

// answerError is an error that Kubo answered with.
type answerError struct {
	call, message string
	status        int
}

func (e *answerError) Error() string { return fmt.Sprintf("call %s of Kubo: %s", e.call, e.message) }

func says(err error, text string) bool {
	var e *answerError
	return errors.As(err, &e) && strings.Contains(e.message, text)
}

// version returns the version of the Kubo, or why it cannot be used.
func (r *rpc) version(ctx context.Context) (string, error) {
	data, err := r.call(ctx, "version", nil, maxAnswer)
	if err != nil {
		return "", err
	}
	var v struct{ Version string }
	var major, minor int
	if json.Unmarshal(data, &v) != nil || v.Version == "" {
		return "", jobspec.Failure{
			Kind: jobspec.KindInternal, Detail: "what answers at " + r.addr.String() + " is no Kubo",
			Hint: "a running Kubo writes the address of its RPC to the file api in its directory: cat ~/.ipfs/api",
		}.Error()
	}
	if _, err := fmt.Sscanf(v.Version, "%d.%d", &major, &minor); err != nil || (major == 0 && minor < minMinor) {
		return "", jobspec.Failure{
			Kind:   jobspec.KindInternal,
			Detail: fmt.Sprintf("Kubo at %s is of version %s; 0.%d or later is needed, as older ones refuse blocks over 1 MiB", r.addr, v.Version, minMinor),
			Hint:   "upgrade Kubo, or leave --ipfs out to use the node inside ipdc",
		}.Error()
	}
	return v.Version, nil
}

// block returns the bytes of a block, not verified. Unless it is offline, Kubo
// looks for it among its peers for as long as ctx allows: that it finds nothing
// does not make it silent.
func (r *rpc) block(ctx context.Context, c jobspec.CID, offline bool) ([]byte, error) {
	get := r.dialled
	if offline {
		get = r.call
	}
	data, err := get(ctx, "block/get", blockQuery(c, offline), dag.MaxBlock)
	return data, blockError(c, err)
}

func (r *rpc) blockSize(ctx context.Context, c jobspec.CID) (int64, error) {
	data, err := r.call(ctx, "block/stat", blockQuery(c, true), maxAnswer)
	if err != nil {
		return 0, blockError(c, err)
	}
	var st struct{ Size int64 }
	if err := json.Unmarshal(data, &st); err != nil {
		return 0, fmt.Errorf("call block/stat of Kubo: %w", err)
	}
	return st.Size, nil
}

func blockQuery(c jobspec.CID, offline bool) url.Values {
	q := url.Values{"arg": {c.String()}}
	if offline {
		q.Set("offline", "true")
	}
	return q
}

// blockError tells a block that is not there from a Kubo that does not work.
func blockError(c jobspec.CID, err error) error {
	switch {
	case says(err, "could not find"), says(err, "not found"):
		return errMissing
	case says(err, "different hash than requested"): // Datastore.HashOnRead
		return jobspec.KindBlockHash.Errorf("block %s: %v", c, err)
	}
	return err
}

// unpin takes a recursive pin off, and reports whether there was one.
func (r *rpc) unpin(ctx context.Context, c jobspec.CID) (bool, error) {
	_, err := r.call(ctx, "pin/rm", url.Values{"arg": {c.String()}, "offline": {"true"}}, maxAnswer)
	if says(err, "not pinned") {
		return false, nil
	}
	return err == nil, err
}

// pinned reports whether c has a recursive pin of its own.
func (r *rpc) pinned(ctx context.Context, c jobspec.CID) (bool, error) {
	_, err := r.call(ctx, "pin/ls", url.Values{"arg": {c.String()}, "type": {"recursive"}, "offline": {"true"}}, maxAnswer)
	if says(err, "is not pinned") {
		return false, nil
	}
	return err == nil, err
}

// call posts a request without a body and returns the whole answer. A Kubo
// that does not take connections is asked again: it may be restarting.
func (r *rpc) call(ctx context.Context, name string, q url.Values, limit int64) ([]byte, error) {
	if time.Now().UnixNano() < r.silent.Load() {
		return nil, r.mute(name)
	}
	outer := ctx
	ctx, cancel := context.WithTimeout(ctx, r.answer)
	defer cancel()
	data, err := r.dialled(ctx, name, q, limit)
	if err != nil && ctx.Err() != nil && outer.Err() == nil {
		r.silent.Store(time.Now().Add(r.answer / 6).UnixNano())
		return nil, r.mute(name)
	}
	if err == nil {
		r.silent.Store(0) // another call was the slow one, not Kubo
	}
	return data, err
}

// mute is the error of a call to a Kubo that takes calls and does not answer.
// For a sixth of the time that one waited, the others do not wait at all: a
// Kubo that hangs keeps nothing here busy.
func (r *rpc) mute(name string) error {
	return unavailable{jobspec.Failure{
		Kind: jobspec.KindInternal, Detail: fmt.Sprintf("Kubo at %s does not answer %s within %s", r.addr, name, r.answer),
		Hint: "see what keeps it busy: ipfs diag cmds; or start it again",
	}.Error()}
}

// dialled is call without its deadline.
func (r *rpc) dialled(ctx context.Context, name string, q url.Values, limit int64) ([]byte, error) {
	for try := 1; ; try++ {
		data, err := r.post(ctx, name, q, "", nil, limit)
		var dial *net.OpError
		if try == dialTries || !errors.As(err, &dial) || dial.Op != "dial" {
			return data, err
		}
		select {
		case <-time.After(time.Duration(float64(int(100)<<try)*(0.5+rand.Float64())) * time.Millisecond):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// stream posts a request without a body and returns the answer as it comes,
// for as long as ctx allows.
func (r *rpc) stream(ctx context.Context, name string, q url.Values) (io.ReadCloser, error) {
	resp, err := r.do(ctx, name, q, "", nil)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, errors.Join(&answerError{name, resp.Status, resp.StatusCode}, resp.Body.Close())
	}
	return resp.Body, nil
}

func (r *rpc) do(ctx context.Context, name string, q url.Values, contentType string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.addr.url()+"/api/v0/"+name+"?"+q.Encode(), body)
	if err != nil {
		return nil, fmt.Errorf("call %s of Kubo: %w", name, err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, r.unreachable(ctx, name, err)
	}
	return resp, nil
}

func (r *rpc) post(ctx context.Context, name string, q url.Values, contentType string, body io.Reader, limit int64) ([]byte, error) {
	resp, err := r.do(ctx, name, q, contentType, body)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, r.unreachable(ctx, name, err)
	}
	if int64(len(data)) > limit {
		return nil, jobspec.KindLimitBytes.Errorf("call %s of Kubo: an answer of more than %d bytes", name, limit)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, r.refused(name, resp.StatusCode, data)
	}
	if text := resp.Trailer.Get("X-Stream-Error"); text != "" {
		return nil, r.room(&answerError{name, text, resp.StatusCode})
	}
	return data, nil
}

func (r *rpc) refused(name string, status int, data []byte) error {
	var e struct{ Message string }
	if json.Unmarshal(data, &e) == nil && e.Message != "" {
		return r.room(&answerError{name, e.Message, status})
	}
	text := fmt.Sprintf("%d %s", status, http.StatusText(status))
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return jobspec.Failure{
			Kind:   jobspec.KindInternal,
			Detail: fmt.Sprintf("Kubo at %s refuses %s: %s %s", r.addr, name, text, bytes.TrimSpace(data)),
			Hint:   "its API.Authorizations must let this machine use /api/v0 without a secret, or leave --ipfs out",
		}.Error()
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		return jobspec.Failure{
			Kind: jobspec.KindInternal, Detail: fmt.Sprintf("what answers at %s has no Kubo RPC: %s: %s", r.addr, name, text),
			Hint: "a running Kubo writes the address of its RPC to the file api in its directory: cat ~/.ipfs/api",
		}.Error()
	}
	answered := &answerError{name, text, status}
	if status < http.StatusInternalServerError {
		return answered
	}
	return unavailable{answered} // Kubo says why, in JSON; this comes from something before it
}

// unreachable is the error of a call that got no answer.
func (r *rpc) unreachable(ctx context.Context, name string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("call %s of Kubo: %w", name, context.Cause(ctx))
	}
	return unavailable{fmt.Errorf("%w: %w", jobspec.Failure{
		Kind:   jobspec.KindInternal,
		Detail: "no Kubo answers at " + r.addr.String(),
		Hint:   "start it with: ipfs daemon (or leave --ipfs out to use the node inside ipdc)",
	}.Error(), err)}
}

// room says of an answer that Kubo's disk is full, if so.
func (r *rpc) room(err *answerError) error {
	if !strings.Contains(err.message, "no space left on device") && !strings.Contains(err.message, "disk quota exceeded") {
		return err
	}
	return unavailable{fmt.Errorf("%w: %w", jobspec.Failure{
		Kind: jobspec.KindInternal, Detail: "the disk of Kubo at " + r.addr.String() + " is full",
		Hint: "free space there: ipfs repo gc, or unpin what is not needed (ipdc job prune); nothing needs to be started again",
	}.Error(), err)}
}
