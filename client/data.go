package client

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// Import stores the DAGs of a CAR, version 1 or 2, of one or more roots, and
// pins each root as "user/<cid>" unless pin is false. A stream that ends early
// leaves nothing.
func (c *Client) Import(ctx context.Context, car io.Reader, pin bool) (wire.Imported, error) {
	return c.importAs(ctx, car, url.Values{"pin": {strconv.FormatBool(pin)}})
}

// ImportHeld is [Client.Import] for what is needed for a while only, as
// [Client.UploadHeld].
func (c *Client) ImportHeld(ctx context.Context, car io.Reader, hold string) (wire.Imported, error) {
	return c.importAs(ctx, car, url.Values{"hold": {hold}})
}

func (c *Client) importAs(ctx context.Context, car io.Reader, query url.Values) (wire.Imported, error) {
	var res wire.Imported
	err := c.exchange(ctx, request{
		method: http.MethodPost, path: []string{"v1", "dag", "import"}, body: car,
		query:  query,
		header: http.Header{"Content-Type": {wire.TypeCAR}, "Expect": {"100-continue"}},
	}, &res)
	return res, err
}

// Export streams a DAG as a CARv1 with each block once, root first, in the
// order of a depth-first walk. Otherwise it is as [Client.Download].
func (c *Client) Export(ctx context.Context, root jobspec.CID) (io.ReadCloser, error) {
	resp, err := c.send(ctx, request{
		method: http.MethodGet, path: []string{"v1", "dag", root.String()},
		query: url.Values{"format": {string(FormatCAR)}, "dups": {"n"}},
	})
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// Pins lists users' pins, newest first; with all, those of jobs too.
func (c *Client) Pins(ctx context.Context, all bool) ([]wire.Pin, error) {
	var l wire.PinList
	err := c.call(ctx, request{
		method: http.MethodGet, path: []string{"v1", "pins"}, query: url.Values{"all": {strconv.FormatBool(all)}},
	}, &l)
	return l.Pins, err
}

// Pin keeps the DAG at a path as of [Client.List]. It takes as long as it
// takes: only ctx bounds it.
func (c *Client) Pin(ctx context.Context, path string) (wire.Pin, error) {
	var p wire.Pin
	err := c.post(ctx, []string{"v1", "pins"}, wire.PinWish{Path: path}, &p)
	return p, err
}

// Unpin removes a user's pin. A CID that no user pinned is E_NOT_FOUND.
func (c *Client) Unpin(ctx context.Context, root jobspec.CID) error {
	return c.call(ctx, request{method: http.MethodDelete, path: []string{"v1", "pins", root.String()}}, nil)
}
