package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/ipdc/ipdc/wire"
)

// Prune removes jobs that have ended, with their records, logs and pins. It
// takes as long as it takes: only ctx bounds it.
func (c *Client) Prune(ctx context.Context, w wire.PruneWish) (wire.Pruned, error) {
	var p wire.Pruned
	err := c.post(ctx, []string{"v1", "jobs", "prune"}, w, &p)
	return p, err
}

// post sends a JSON body and reads the JSON answer; only ctx bounds it.
func (c *Client) post(ctx context.Context, path []string, body, out any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode %T: %w", body, err)
	}
	return c.exchange(ctx, request{
		method: http.MethodPost, path: path, body: bytes.NewReader(b),
		header: http.Header{"Content-Type": {"application/json"}},
	}, out)
}
