package kubo

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/jobspec"
)

// Pin implements ipfs.Node.
func (n *Node) Pin(ctx context.Context, name string, root jobspec.CID) error {
	done, err := n.keepPinned(ctx, name, root)
	if err == nil && !done {
		var st ipfs.Stat
		if st, err = n.fetchAll(ctx, root); err == nil {
			err = n.keep(ctx, name, root, st, nil, nil)
		}
	}
	if err != nil {
		return fmt.Errorf("pin %q: %w", name, err)
	}
	return nil
}

// fetchAll has Kubo get what it misses of a DAG, and counts the blocks.
func (n *Node) fetchAll(ctx context.Context, root jobspec.CID) (ipfs.Stat, error) {
	from := &bounded{Node: n}
	st, err := n.count(ctx, root, from, fetchCalls, func(ctx context.Context, c jobspec.CID) (int64, error) {
		size, err := n.size(ctx, c)
		if !errors.Is(err, errMissing) {
			return size, err
		}
		data, err := from.fetch(ctx, c)
		return int64(len(data)), err
	})
	if err != nil {
		return st, fmt.Errorf("DAG %s is not whole: %w", root, err)
	}
	return st, nil
}

// bounded is the Getter of one Pin. It has Kubo fetch Config.MaxBytes at most,
// and as much more as is on its way when they are reached.
type bounded struct {
	*Node
	fetched atomic.Int64 // bytes
}

// Get implements ipfs.Getter.
func (b *bounded) Get(ctx context.Context, c jobspec.CID) ([]byte, error) {
	data, err := b.getLocal(ctx, c)
	if errors.Is(err, errMissing) {
		return b.fetch(ctx, c)
	}
	return data, err
}

// fetch gets a block that Kubo does not have.
func (b *bounded) fetch(ctx context.Context, c jobspec.CID) ([]byte, error) {
	if b.fetched.Load() > b.max {
		return nil, b.tooLarge()
	}
	if err := b.room(ctx, 0); err != nil {
		return nil, err
	}
	data, err := b.getRemote(ctx, c)
	if err == nil && b.fetched.Add(int64(len(data))) > b.max {
		err = b.tooLarge()
	}
	return data, err
}

func (n *Node) tooLarge() error {
	return jobspec.Failure{
		Kind:   jobspec.KindLimitBytes,
		Detail: fmt.Sprintf("%s has over %s of it to fetch, which is as much as this node has fetched for one DAG", n, jobspec.Bytes(n.max)),
		Hint:   "take a part of it (CID/path), or raise the node's limit: ipdc node start --input-bytes N",
	}.Error()
}
