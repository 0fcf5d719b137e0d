package kubo

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/internal/cidset"
	"github.com/ipdc/ipdc/ipfs/internal/dag"
	"github.com/ipdc/ipdc/ipfs/internal/walk"
	"github.com/ipdc/ipdc/jobspec"
)

// counter counts blocks from several goroutines.
type counter struct {
	mu   sync.Mutex
	stat ipfs.Stat
}

// add counts a block, unless its CID holds it.
func (n *counter) add(c jobspec.CID, size int64) {
	if _, ok := dag.Identity(c); ok {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stat.Blocks++
	n.stat.Bytes += size
}

// small reports whether a call for each block would cost more than its bytes.
func (n *counter) small() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.stat.Bytes <= (n.stat.Blocks+16)*(64<<10)
}

// count visits every block below root and counts it. Branches are read from g.
// Leaves come from one stream while blocks are small; otherwise leaf asks for
// the size of each, so many abreast.
func (n *Node) count(ctx context.Context, root jobspec.CID, g ipfs.Getter, abreast int, leaf func(context.Context, jobspec.CID) (int64, error)) (ipfs.Stat, error) {
	var found counter
	s, done := n.export(ctx, root, g)
	defer done()
	leaves, ctx := errgroup.WithContext(ctx)
	leaves.SetLimit(abreast)
	err := walk.DAG(ctx, s, []jobspec.CID{root}, cidset.New(), walk.Visit{
		Branch: func(c jobspec.CID, data []byte) error { found.add(c, int64(len(data))); return nil },
		Leaf: func(c jobspec.CID) error {
			if found.small() {
				if data, ok := s.take(c); ok {
					found.add(c, int64(len(data)))
					return nil
				}
			}
			leaves.Go(func() error {
				size, err := leaf(ctx, c)
				if err == nil {
					found.add(c, size)
				}
				return err
			})
			return nil
		},
	})
	// The first error of a leaf ends ctx, and with it the walk.
	if lerr := leaves.Wait(); lerr != nil {
		err = lerr
	}
	if err != nil {
		return ipfs.Stat{}, err
	}
	return found.stat, nil
}

// Verify implements ipfs.Node.
func (n *Node) Verify(ctx context.Context, root jobspec.CID) (ipfs.Stat, error) {
	st, err := n.count(ctx, root, stored{n}, localCalls, func(ctx context.Context, c jobspec.CID) (int64, error) {
		data, err := stored{n}.Get(ctx, c)
		return int64(len(data)), err
	})
	if err != nil {
		return st, fmt.Errorf("verify %s: %w", root, err)
	}
	return st, nil
}
