package client

import (
	"context"
	"io"
	"net/http"
	"net/url"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// Format is what [Client.Download] gives a DAG as.
type Format string

// The formats.
const (
	FormatCAR Format = "car" // CARv1, root first, each block as often as it is linked to
	FormatRaw Format = "raw" // the bytes of one file
	FormatTar Format = "tar" // the tree of files, for a UnixFS root
)

// Upload stores the DAG of a CAR stream and pins it as "user/<cid>". The root
// stands in the CAR's header or, with rootLast, is its last block, for a writer
// that knows it only at the end. A stream that ends early leaves nothing.
func (c *Client) Upload(ctx context.Context, car io.Reader, rootLast bool) (wire.Added, error) {
	return c.UploadHeld(ctx, car, rootLast, "")
}

// UploadHeld is [Client.Upload] for what is needed for a while only: it is kept
// under the name hold, of 1 to 64 letters and digits, until [Client.Release], and
// for some hours at most. Any number of uploads may share a hold. "" pins.
func (c *Client) UploadHeld(ctx context.Context, car io.Reader, rootLast bool, hold string) (wire.Added, error) {
	r := request{
		method: http.MethodPost, path: []string{"v1", "dag"}, body: car, query: url.Values{},
		// What can be refused before the first byte is refused before it.
		header: http.Header{"Content-Type": {wire.TypeCAR}, "Expect": {"100-continue"}},
	}
	if rootLast {
		r.query.Set("root", "last")
	}
	if hold != "" {
		r.query.Set("hold", hold)
	}
	var a wire.Added
	err := c.exchange(ctx, r, &a)
	return a, err
}

// Release lets go of what was held under a name. One that is not there, as
// holds end with the node and by themselves, is no error.
func (c *Client) Release(ctx context.Context, hold string) error {
	return c.call(ctx, request{method: http.MethodDelete, path: []string{"v1", "holds", hold}}, nil)
}

// Download streams a DAG; only ctx bounds its time. The caller closes it. A
// stream that was cut ends with io.ErrUnexpectedEOF, never with io.EOF.
func (c *Client) Download(ctx context.Context, root jobspec.CID, f Format) (io.ReadCloser, error) {
	resp, err := c.send(ctx, request{
		method: http.MethodGet, path: []string{"v1", "dag", root.String()}, query: url.Values{"format": {string(f)}},
	})
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// List lists the directory, or describes the file, at a path: CID, CID/a/b,
// /ipfs/CID/a or ipfs://CID/a.
func (c *Client) List(ctx context.Context, path string) (wire.Listing, error) {
	var l wire.Listing
	err := c.call(ctx, request{method: http.MethodGet, path: []string{"v1", "ls"}, query: url.Values{"path": {path}}}, &l)
	return l, err
}

// Resolve follows a path as of List to the CID it names.
func (c *Client) Resolve(ctx context.Context, path string) (jobspec.CID, error) {
	var r wire.Resolved
	err := c.call(ctx, request{method: http.MethodGet, path: []string{"v1", "resolve"}, query: url.Values{"path": {path}}}, &r)
	return r.CID, err
}
