package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/ipdc/ipdc/wire"
)

// Tokens lists the API tokens by name. This and the other calls about tokens
// are for the node's own user; others are refused with E_POLICY.
func (c *Client) Tokens(ctx context.Context) ([]wire.Token, error) {
	var l wire.TokenList
	err := c.call(ctx, request{method: http.MethodGet, path: []string{"v1", "tokens"}}, &l)
	return l.Tokens, err
}

// CreateToken makes a token. Its secret is told this once. A name that is
// taken is E_CONFLICT.
func (c *Client) CreateToken(ctx context.Context, name string) (wire.NewToken, error) {
	var t wire.NewToken
	b, err := json.Marshal(wire.TokenRequest{Name: name})
	if err != nil {
		return t, fmt.Errorf("encode request: %w", err)
	}
	err = c.call(ctx, request{
		method: http.MethodPost, path: []string{"v1", "tokens"}, body: bytes.NewReader(b),
		header: http.Header{"Content-Type": {"application/json"}},
	}, &t)
	return t, err
}

// RevokeToken ends what a token may do, streams that are open included.
func (c *Client) RevokeToken(ctx context.Context, name string) error {
	return c.call(ctx, request{method: http.MethodDelete, path: []string{"v1", "tokens", name}}, nil)
}
