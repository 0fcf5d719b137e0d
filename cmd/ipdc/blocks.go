package main

import (
	"context"
	"path/filepath"
	"time"

	"github.com/ipdc/ipdc/ipfs/embedded"
	"github.com/ipdc/ipdc/ipfs/gateway"
)

// embedded opens the node's own block store, with what fetches for it.
func (n *node) embedded(ctx context.Context) error {
	cfg := embedded.Config{Dir: filepath.Join(n.set.Path, "ipfs"), Logger: n.log}
	if len(n.set.Gateways) > 0 {
		gw, err := gateway.New(gateway.Config{
			URLs: n.set.Gateways, Wait: time.Duration(n.set.FetchWait), Logger: n.log,
		})
		if err != nil {
			return usagef("%w", err)
		}
		n.onClose(gw.Close)
		cfg.Fetcher = gw
	}
	node, err := embedded.Open(ctx, cfg)
	if err != nil {
		return err
	}
	n.ipfs = node
	n.onClose(node.Close)
	return nil
}
