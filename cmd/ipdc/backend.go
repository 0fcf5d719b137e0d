package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/kubo"
	"github.com/ipdc/ipdc/ipfs/swap"
	"github.com/ipdc/ipdc/sidecar"
)

// embeddedName is what node status calls the node inside ipdc.
const embeddedName = "embedded"

// openIPFS opens where blocks are kept: the node inside ipdc, or the Kubo that
// the settings name.
func (n *node) openIPFS(ctx context.Context) error {
	dir := filepath.Join(n.set.Path, "kubo")
	if n.set.IPFS == "" {
		n.backend = embeddedName
		n.noteOther(dir, "what was added with --ipfs is in that Kubo, and pinned there; start with --ipfs to use it")
		return n.embedded(ctx)
	}
	if len(n.set.Gateways) > 0 {
		return usagef("--ipfs and --gateway exclude each other: that Kubo fetches by its own configuration")
	}
	addr, err := kubo.ParseAddr(n.set.IPFS)
	if err != nil {
		return usagef("--ipfs: %w", err)
	}
	node, err := n.openKubo(ctx, dir, kubo.Config{
		Addr: addr, Dir: dir, Fetch: n.set.FetchWait.Std(), Logger: n.log,
		Owner:    strings.TrimSuffix(sidecar.ObjectPrefix(n.key.ID()), "-"),
		MaxBytes: int64(n.set.InputBytes),
		Room:     func(ctx context.Context, more int64) error { return n.room.Check(ctx, more) },
	})
	if err != nil {
		return err
	}
	if err := n.fetching(); err != nil {
		return err
	}
	n.ipfs, n.backend, n.exchange.local, n.names = node, node.String(), node, node
	if n.exchange.asks() {
		n.ipfs = swap.Over(node, n.exchange)
	}
	n.onClose(node.Close)
	n.noteOther(filepath.Join(n.set.Path, "ipfs"), "what was added without --ipfs is not in this Kubo; bring it over with ipdc export and ipdc import")
	return nil
}

// openKubo waits for a Kubo that this node worked with before: with the machine
// both start, in any order. One that never answered is told of at once, as its
// address may be wrong.
func (n *node) openKubo(ctx context.Context, dir string, cfg kubo.Config) (*kubo.Node, error) {
	_, unknown := os.Stat(filepath.Join(dir, "pins.db"))
	for said := false; ; said = true {
		node, err := kubo.Open(ctx, cfg)
		if err == nil || unknown != nil || !errors.Is(err, ipfs.ErrUnavailable) {
			return node, err
		}
		if !said {
			n.log.Warn("waits for Kubo", "err", err)
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// noteOther logs text when the backend that is not used was used before.
func (n *node) noteOther(dir, text string) {
	if _, err := os.Stat(dir); err == nil {
		n.log.Info(text, "dir", dir)
	}
}
