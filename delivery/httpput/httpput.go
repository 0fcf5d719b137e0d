// Package httpput stores files on a web server by PUT, as WebDAV servers,
// artifact stores and signed upload addresses take them.
//
//	st := httpput.New(httpput.Config{URL: "https://example.org/put", Header: header})
//	err := st.Put(ctx, "2026/a.png", file)
//
// Each request says its content's SHA-256 in Repr-Digest (RFC 9530), so that a
// server can refuse what was damaged on the way. Redirects are not followed:
// they could lead to where nobody permitted to send.
package httpput

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/ipdc/ipdc/delivery"
)

// Config is what a Store is made of.
type Config struct {
	URL    string      // of the top, without a slash at its end
	Header http.Header // of every request, such as Authorization; default none
	// Stall ends a request of which nothing was sent or answered for so long;
	// default 1 min.
	Stall     time.Duration
	Transport http.RoundTripper // default http.DefaultTransport
}

// Store is a web server.
type Store struct {
	cfg    Config
	client http.Client
}

var _ delivery.Store = (*Store)(nil)

// New returns a store; it does no I/O.
func New(cfg Config) *Store {
	if cfg.Stall <= 0 {
		cfg.Stall = time.Minute
	}
	return &Store{cfg: cfg, client: http.Client{Transport: cfg.Transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}}
}

// Put implements [delivery.Store].
func (s *Store) Put(ctx context.Context, path string, f delivery.File) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// At least 64 KiB/s: a server that takes a byte a minute is no place.
	slow := 2*s.cfg.Stall + time.Duration(f.Size/(64<<10))*time.Second
	late := time.AfterFunc(slow, func() { cancel(fmt.Errorf("%d bytes were not taken within %s", f.Size, slow)) })
	defer late.Stop()
	stalled := time.AfterFunc(s.cfg.Stall, func() { cancel(fmt.Errorf("nothing moved for %s", s.cfg.Stall)) })
	defer stalled.Stop()
	r, err := f.Open(ctx)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	defer r.Close()
	// The transport closes a body; r is closed here, once.
	body := io.NopCloser(progress{f.Check(r), func() { stalled.Reset(s.cfg.Stall) }})
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, s.cfg.URL+escape(path), body)
	if err != nil {
		return fmt.Errorf("put %s: %w", path, err)
	}
	for name, values := range s.cfg.Header {
		req.Header[name] = values
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	req.Header.Set("Repr-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(f.Sum[:])+":")
	if req.ContentLength = f.Size; f.Size == 0 {
		req.Body = http.NoBody
	}
	resp, err := s.client.Do(req)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return fmt.Errorf("put %s: %w", path, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		said, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
		return fmt.Errorf("put %s: %s answered %s: %q", path, req.URL.Host, resp.Status, said)
	}
	return nil
}

// escape returns path, each of its segments escaped, behind a slash.
func escape(path string) string {
	var b strings.Builder
	for name := range strings.SplitSeq(path, "/") {
		b.WriteString("/" + url.PathEscape(name))
	}
	return b.String()
}

// progress tells of each read.
type progress struct {
	io.Reader
	moved func()
}

func (p progress) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	p.moved()
	return n, err
}
