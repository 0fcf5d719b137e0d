package client

import (
	"context"
	"net/http"

	"github.com/ipdc/ipdc/wire"
)

// Attach serves a CAR file of the node's machine, or all below a directory, in
// place. It returns when they have been read; [Client.Attachments] says how far
// that is. Only ctx bounds it. It is for the node's own user.
func (c *Client) Attach(ctx context.Context, path, label string) (wire.Attached, error) {
	return c.attachments(ctx, []string{"v1", "data"}, wire.Attach{Path: path, Label: label})
}

// VerifyAttached reads attached files again, all of them without a ref, which is
// a path, a directory, a label, a root or at least the first 4 characters of an
// id.
func (c *Client) VerifyAttached(ctx context.Context, ref string) (wire.Attached, error) {
	return c.attachments(ctx, []string{"v1", "data", "verify"}, wire.VerifyAttached{Ref: ref})
}

// Detach stops serving attached files, which stay as they are.
func (c *Client) Detach(ctx context.Context, ref string) (wire.Attached, error) {
	return c.attachments(ctx, []string{"v1", "data", "detach"}, wire.AttachedRef{Ref: ref})
}

// Attachments lists the CAR files that the node serves in place.
func (c *Client) Attachments(ctx context.Context) (wire.AttachedList, error) {
	var list wire.AttachedList
	err := c.call(ctx, request{method: http.MethodGet, path: []string{"v1", "data"}}, &list)
	return list, err
}

func (c *Client) attachments(ctx context.Context, path []string, body any) (wire.Attached, error) {
	var out wire.Attached
	err := c.post(ctx, path, body, &out)
	return out, err
}
