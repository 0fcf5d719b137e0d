package main

import (
	"context"
	"path/filepath"

	"github.com/ipdc/ipdc/ipfs/embedded"
)

// embedded opens the node's own block store.
func (n *node) embedded(ctx context.Context) error {
	cfg := embedded.Config{Dir: filepath.Join(n.set.Path, "ipfs"), Logger: n.log}
	node, err := embedded.Open(ctx, cfg)
	if err != nil {
		return err
	}
	n.ipfs = node
	n.onClose(node.Close)
	return nil
}
