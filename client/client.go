package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/ipdc/ipdc/wire"
)

// maxAnswer bounds a JSON answer. The largest is a list of 500 jobs with a
// spec of 256 KiB each.
const maxAnswer = 256 << 20

// Client is a connection to one node. Its methods may be called concurrently.
type Client struct {
	addr    string // as given, for messages
	base    string // "http://host"
	token   string
	tenant  string // whose jobs; "" = the caller's
	timeout time.Duration
	retry   retry
	silence time.Duration
	http    *http.Client
}

// Option sets something of a [Client].
type Option func(*Client)

// WithToken sends the secret of an API token with each request. A unix socket
// needs none.
func WithToken(secret string) Option { return func(c *Client) { c.token = secret } }

// WithTenant makes every call about jobs and schedules that are there one about
// those of another tenant, or with "*" every list of jobs one of all tenants'.
// New ones are the caller's all the same. It is for the node's own user.
func WithTenant(name string) Option { return func(c *Client) { c.tenant = name } }

// WithTimeout bounds each short call, all calls but streams, GC and Wait. The
// default is 60 s.
func WithTimeout(d time.Duration) Option { return func(c *Client) { c.timeout = d } }

// WithRetry sets how Events resumes a stream that was cut: the first pause,
// the longest one, and how long to try without success. The defaults are
// 250 ms, 5 s and 30 s.
func WithRetry(first, longest, giveUp time.Duration) Option {
	return func(c *Client) { c.retry = retry{first, longest, giveUp} }
}

// WithSilence sets after how long without a byte an event stream counts as
// cut. The node sends a heartbeat each 15 s; the default is 45 s.
func WithSilence(d time.Duration) Option { return func(c *Client) { c.silence = d } }

// New returns a client of the node at addr: "unix:///path/api.sock" or
// "http://127.0.0.1:port". It does no I/O.
func New(addr string, opts ...Option) (*Client, error) {
	c := &Client{
		addr: addr, timeout: 60 * time.Second, silence: 45 * time.Second,
		retry: retry{250 * time.Millisecond, 5 * time.Second, 30 * time.Second},
	}
	for _, o := range opts {
		o(c)
	}
	t := &http.Transport{
		Proxy:                 nil, // never: a token would leave the machine
		DisableCompression:    true,
		MaxIdleConnsPerHost:   8,
		IdleConnTimeout:       30 * time.Second,
		ExpectContinueTimeout: time.Second,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
	}
	if path, ok := strings.CutPrefix(addr, "unix://"); ok {
		if !strings.HasPrefix(path, "/") {
			return nil, fmt.Errorf("address %q: a socket needs an absolute path, as unix:///run/ipdc/api.sock", addr)
		}
		c.base = "http://localhost"
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialUnix(ctx, path)
		}
	} else if err := c.setHTTP(addr); err != nil {
		return nil, err
	}
	c.http = &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// sendBuffer is what the system holds of a request that the node has not read
// yet, where it allows that much.
const sendBuffer = 2 << 20

func dialUnix(ctx context.Context, path string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "unix", path)
	if u, ok := conn.(*net.UnixConn); ok {
		_ = u.SetWriteBuffer(sendBuffer) // a smaller one does as well
	}
	return conn, err
}

func (c *Client) setHTTP(addr string) error {
	u, err := url.Parse(addr)
	if err != nil || u.Scheme != "http" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.User != nil || u.RawQuery != "" {
		return fmt.Errorf("address %q is neither unix:///path/api.sock nor http://127.0.0.1:port", addr)
	}
	if ip, err := netip.ParseAddr(u.Hostname()); u.Hostname() != "localhost" && (err != nil || !ip.IsLoopback()) {
		return fmt.Errorf("address %q is not on this machine: the API is plain HTTP; forward its port with ssh -L and use http://127.0.0.1:port", addr)
	}
	c.base = "http://" + u.Host
	return nil
}

// Addr returns the address that New was given.
func (c *Client) Addr() string { return c.addr }

// Close closes idle connections. Streams go on; c can still be used.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// request is one call, before it is sent.
type request struct {
	method string
	path   []string // elements, not yet escaped
	query  url.Values
	header http.Header
	body   io.Reader
}

// ofTenant reports whether r is about jobs or schedules that are there.
func (r request) ofTenant() bool {
	return len(r.path) > 1 && (r.path[1] == "jobs" || r.path[1] == "schedules") && (len(r.path) > 2 || r.method == http.MethodGet)
}

// compose makes the request that is sent for r.
func (c *Client) compose(ctx context.Context, r request) (*http.Request, error) {
	u := c.base
	for _, e := range r.path {
		u += "/" + url.PathEscape(e)
	}
	if c.tenant != "" && r.ofTenant() {
		r.query = maps.Clone(r.query)
		if r.query == nil {
			r.query = url.Values{}
		}
		r.query.Set("tenant", c.tenant)
	}
	if len(r.query) > 0 {
		u += "?" + r.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, u, r.body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r, err)
	}
	for k, v := range r.header {
		req.Header[k] = v
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	return req, nil
}

// send sends r and returns the answer when its status is below 300. The
// caller closes the body.
func (c *Client) send(ctx context.Context, r request) (*http.Response, error) {
	req, err := c.compose(ctx, r)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.transportError(r, err)
	}
	if resp.StatusCode >= 300 {
		defer resp.Body.Close()
		return nil, readError(r, resp)
	}
	return resp, nil
}

// call is a short call: it sends r and reads the JSON answer into out, which
// may be nil.
func (c *Client) call(ctx context.Context, r request, out any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout,
		fmt.Errorf("node at %s gave no answer within %s: %w", c.addr, c.timeout, context.DeadlineExceeded))
	defer cancel()
	return c.exchange(ctx, r, out)
}

// exchange is call without a deadline of its own.
func (c *Client) exchange(ctx context.Context, r request, out any) error {
	resp, err := c.send(ctx, r)
	if err != nil {
		if cause := context.Cause(ctx); ctx.Err() != nil && !errors.Is(err, cause) {
			return fmt.Errorf("%w: %w", err, cause)
		}
		return err
	}
	defer resp.Body.Close()
	if out == nil || resp.StatusCode == http.StatusNoContent {
		return nil
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("%s: read answer: %w", r, err)
	}
	if len(b) > maxAnswer {
		return fmt.Errorf("%s: answer of more than %d bytes", r, maxAnswer)
	}
	if err := json.NewDecoder(bytes.NewReader(b)).Decode(out); err != nil {
		return fmt.Errorf("%s: read answer: %w", r, err)
	}
	return nil
}

// String returns "GET /v1/jobs/x" for messages; a query or a body never is in it.
func (r request) String() string { return r.method + " /" + strings.Join(r.path, "/") }

// Node describes the node.
func (c *Client) Node(ctx context.Context) (wire.Node, error) {
	var n wire.Node
	err := c.call(ctx, request{method: http.MethodGet, path: []string{"v1", "node"}}, &n)
	return n, err
}

// StopNode asks the node to stop and returns when it has agreed. Jobs in
// containers go on. It is refused with E_POLICY unless c uses the unix socket.
func (c *Client) StopNode(ctx context.Context) error {
	return c.call(ctx, request{method: http.MethodPost, path: []string{"v1", "node", "stop"}}, nil)
}

// GC removes the blocks that no pin needs. It takes as long as it takes: only
// ctx bounds it.
func (c *Client) GC(ctx context.Context) (wire.Collected, error) {
	var g wire.Collected
	err := c.exchange(ctx, request{method: http.MethodPost, path: []string{"v1", "node", "gc"}}, &g)
	return g, err
}
