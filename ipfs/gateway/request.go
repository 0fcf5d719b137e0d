package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/ipdc/ipdc/ipfs/internal/dag"
	"github.com/ipdc/ipdc/jobspec"
)

// The media types of the Trustless Gateway specification.
const (
	typeRaw = "application/vnd.ipld.raw"
	typeCAR = "application/vnd.ipld.car"
)

// acceptCAR asks for parents before their children and for each block once.
const acceptCAR = typeCAR + "; version=1; order=dfs; dups=n"

const maxRedirects = 3

// transport honours HTTPS_PROXY and the like, and takes no compressed bodies:
// what one byte of them becomes has no bound.
func transport() *http.Transport {
	d := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy: func(r *http.Request) (*url.URL, error) {
			if local(r.URL.Hostname()) {
				return nil, nil
			}
			return http.ProxyFromEnvironment(r)
		},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if host, port, err := net.SplitHostPort(addr); err == nil && local(host) {
				addr = net.JoinHostPort("localhost", port)
			}
			return d.DialContext(ctx, network, addr)
		},
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		TLSHandshakeTimeout:    10 * time.Second,
		IdleConnTimeout:        90 * time.Second,
		MaxIdleConnsPerHost:    8,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// local says whether a name is this machine by RFC 6761, which not every
// resolver knows. A local Kubo redirects to <cid>.ipfs.localhost.
func local(host string) bool { return host == "localhost" || strings.HasSuffix(host, ".localhost") }

// sameHost lets a gateway redirect to itself and to names below its own, as
// gateways with a name per CID do, but not to other machines, which may be
// ones that only this one can reach, nor from https to http.
func sameHost(base *url.URL) func(*http.Request, []*http.Request) error {
	return func(r *http.Request, via []*http.Request) error {
		host, home := r.URL.Hostname(), base.Hostname()
		switch {
		case len(via) > maxRedirects:
			return fmt.Errorf("more than %d redirects", maxRedirects)
		case host != home && !strings.HasSuffix(host, "."+home):
			return fmt.Errorf("redirects to another host, %s", host)
		case base.Scheme == "https" && r.URL.Scheme != "https":
			return errors.New("redirects from https to http")
		}
		return nil
	}
}

// get asks for a block, or for the CAR of the DAG below it. The error is a
// *refusal.
func (g *gateway) get(ctx context.Context, c jobspec.CID, query, accept string) (*http.Response, error) {
	u := g.base.JoinPath("ipfs", c.String())
	u.RawQuery = query
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, &refusal{badAnswer, err}
	}
	req.Header.Set("Accept", accept)
	req.Header.Set("User-Agent", "ipdc")
	resp, err := g.http.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // the address stands in front of it already
		}
		return nil, &refusal{busy, err}
	}
	if err := check(resp, accept); err != nil {
		resp.Body.Close()
		return nil, err
	}
	return resp, nil
}

// check returns a *refusal unless the answer is of the kind that was asked
// for. A page in HTML with status 200 is what captive portals send.
func check(resp *http.Response, accept string) error {
	switch code := resp.StatusCode; {
	case code == http.StatusOK:
	case code == http.StatusNotFound, code == http.StatusGone, code == http.StatusGatewayTimeout:
		return &refusal{absent, errors.New(resp.Status)}
	case code == http.StatusTooManyRequests, code >= 500 && code != http.StatusNotImplemented:
		return &refusal{busy, errors.New(resp.Status)}
	default:
		return &refusal{badAnswer, errors.New(resp.Status)}
	}
	want, _, _ := strings.Cut(accept, ";")
	got, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || got != want {
		return &refusal{badAnswer, fmt.Errorf("answers with %q where %s was asked for", resp.Header.Get("Content-Type"), want)}
	}
	return nil
}

// block fetches and verifies one block. The error is a *refusal.
func (g *gateway) block(ctx context.Context, c jobspec.CID, verify func(jobspec.CID, []byte) error) ([]byte, error) {
	resp, err := g.get(ctx, c, "format=raw", typeRaw)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, dag.MaxBlock+1))
	if err != nil {
		return nil, &refusal{busy, fmt.Errorf("broke off after %d bytes: %w", len(data), err)}
	}
	if err := verify(c, data); err != nil {
		return nil, &refusal{lied, err}
	}
	return data, nil
}
