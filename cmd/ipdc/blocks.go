package main

import (
	"context"
	"path/filepath"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/embedded"
	"github.com/ipdc/ipdc/sidecar/room"
)

// embedded opens the node's own block store, with what fetches for it.
func (n *node) embedded(ctx context.Context) error {
	cfg := embedded.Config{
		Dir: filepath.Join(n.set.Path, "ipfs"), Logger: n.log,
		Room: func(ctx context.Context, more int64) error { return n.room.Check(ctx, more) },
	}
	if err := n.fetching(); err != nil {
		return err
	}
	if n.exchange.asks() {
		cfg.Fetcher = n.exchange
	}
	set, err := n.openAttached(ctx)
	if err != nil {
		return err
	}
	cfg.Beside = set
	node, err := embedded.Open(ctx, cfg)
	if err != nil {
		return err
	}
	n.attached = &attachments{set, node}
	n.ipfs, n.exchange.local = node, node
	n.onClose(node.Close)
	return nil
}

// watch makes the keeper of the node's disk. Garbage in a Kubo is not this
// node's to collect: its other users may want it.
func (n *node) watch() {
	cfg := room.Config{
		Dir: n.set.Path, MinFree: n.set.MinFree, MaxBlocks: n.set.StorageMax,
		GCAt: n.set.GCWatermark, GCEvery: n.set.GCPeriod.Std(), Stat: n.ipfs.Stat, Logger: n.log,
		Trim: func(bytes int64) {
			for _, c := range n.caches {
				c.Trim(bytes / int64(len(n.caches)))
			}
		},
	}
	if n.set.IPFS == "" {
		cfg.GC = n.ipfs.GC
	}
	n.room = room.New(cfg)
}

// inputBudget bounds one input of a job.
func (s settings) inputBudget() ipfs.Budget {
	return ipfs.Budget{
		Bytes: int64(s.InputBytes), Entries: int64(s.InputEntries), Levels: s.InputLevels, DAGDepth: s.InputBlocks, Time: s.InputTime.Std(),
	}
}
