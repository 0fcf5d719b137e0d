package client

import (
	"context"
	"net/http"

	"github.com/ipdc/ipdc/wire"
)

// Drain makes the node take nothing new and hand over what it has, or ends
// that. [Client.Drained] says how far it is. It is for the node's own user.
func (c *Client) Drain(ctx context.Context, w wire.DrainWish) (wire.Drain, error) {
	var d wire.Drain
	err := c.post(ctx, []string{"v1", "node", "drain"}, w, &d)
	return d, err
}

// Drained says how far the node is with draining.
func (c *Client) Drained(ctx context.Context) (wire.Drain, error) {
	var d wire.Drain
	err := c.call(ctx, request{method: http.MethodGet, path: []string{"v1", "node", "drain"}}, &d)
	return d, err
}

// Replicate is Pin, and keeps the DAG on so many nodes in all from now on. It
// returns when it is, as far as other members have room for it.
func (c *Client) Replicate(ctx context.Context, path string, nodes int) (wire.Pin, error) {
	var p wire.Pin
	err := c.post(ctx, []string{"v1", "pins"}, wire.PinWish{Path: path, Replicate: nodes}, &p)
	return p, err
}
