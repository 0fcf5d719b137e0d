package client

import (
	"context"
	"net/http"

	"github.com/ipdc/ipdc/wire"
)

// Peers lists the other members of the node's domain, by id.
func (c *Client) Peers(ctx context.Context) (wire.PeerList, error) {
	var list wire.PeerList
	err := c.call(ctx, request{method: http.MethodGet, path: []string{"v1", "peers"}}, &list)
	return list, err
}

// ProbePeers moves a random block to each other member and one back, which
// takes up to half a minute. It is for the node's own user.
func (c *Client) ProbePeers(ctx context.Context) (wire.ProbeList, error) {
	var list wire.ProbeList
	err := c.call(ctx, request{method: http.MethodPost, path: []string{"v1", "peers", "probe"}}, &list)
	return list, err
}
