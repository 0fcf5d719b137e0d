package embedded

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/ipfs/boxo/datastore/dshelp"
	"github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/query"
	"github.com/multiformats/go-multihash"
	"golang.org/x/sync/errgroup"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/internal/cidset"
	"github.com/ipdc/ipdc/ipfs/internal/dag"
	"github.com/ipdc/ipdc/ipfs/internal/walk"
	"github.com/ipdc/ipdc/jobspec"
)

// sweepBatch is how many blocks GC deletes before it lets Puts pass.
const sweepBatch = 64

// stored is a block that lies on disk.
type stored struct {
	key  datastore.Key
	hash multihash.Multihash
	size int64
}

// GC implements ipfs.Node. It deletes nothing when a pinned DAG cannot be read:
// what the missing part leads to would be lost with it. An Add that is done
// with its blocks waits for GC before it pins.
func (n *Node) GC(ctx context.Context) (ipfs.Stat, error) {
	n.pinning.Lock()
	defer n.pinning.Unlock()
	marked, err := n.mark(ctx)
	if err != nil {
		return ipfs.Stat{}, fmt.Errorf("collect garbage: %w", err)
	}
	var freed, kept ipfs.Stat
	var garbage []stored
	err = n.each(ctx, func(b stored) error {
		kept.Blocks++
		kept.Bytes += b.size
		if marked.HasBytes(b.hash) {
			return nil
		}
		if garbage = append(garbage, b); len(garbage) < sweepBatch {
			return nil
		}
		err := n.delete(ctx, garbage, &freed)
		garbage = garbage[:0]
		return err
	})
	if err == nil {
		err = n.delete(ctx, garbage, &freed)
	}
	if err != nil {
		return freed, fmt.Errorf("collect garbage: %w", err)
	}
	n.beside.Collected()
	n.usage.set(ipfs.Stat{Blocks: kept.Blocks - freed.Blocks, Bytes: kept.Bytes - freed.Bytes})
	return freed, nil
}

// mark returns every block that a pin reaches.
func (n *Node) mark(ctx context.Context) (*cidset.Set, error) {
	pins, err := n.Pins(ctx, "")
	if err != nil {
		return nil, err
	}
	marked := cidset.New()
	for _, p := range pins {
		err := walk.DAG(ctx, here{n}, []jobspec.CID{p.Root}, marked, walk.Visit{
			Leaf: func(c jobspec.CID) error {
				n.beside.Lost(c) // it is wanted
				return nil
			},
			Missing: func(c jobspec.CID, err error) error {
				if !isMissing(err) || !n.beside.Lost(c) {
					return err
				}
				n.log.Warn("a pin reaches a block that can no longer be read here", "pin", p.Name, "cid", c, "err", err)
				return nil
			},
		})
		if err != nil {
			return nil, fmt.Errorf("read pin %q; add its data again or unpin it: %w", p.Name, err)
		}
	}
	return marked, nil
}

// delete removes blocks that no running Add holds.
func (n *Node) delete(ctx context.Context, garbage []stored, freed *ipfs.Stat) error {
	n.sweep.Lock()
	defer n.sweep.Unlock()
	for _, b := range garbage {
		if n.isHeld(b.hash) {
			continue
		}
		if err := n.blocks.Delete(ctx, b.key); err != nil {
			return fmt.Errorf("delete block %s: %w", rawCID(b.hash), err)
		}
		freed.Blocks++
		freed.Bytes += b.size
	}
	return nil
}

func (n *Node) isHeld(hash multihash.Multihash) bool {
	for s := range n.sessions {
		if s.held.HasBytes(hash) || s.kept.HasBytes(hash) {
			return true
		}
	}
	return false
}

// each calls do for every block on disk.
func (n *Node) each(ctx context.Context, do func(stored) error) error {
	results, err := n.blocks.Query(ctx, query.Query{KeysOnly: true, ReturnsSizes: true})
	if err != nil {
		return fmt.Errorf("list blocks: %w", err)
	}
	defer results.Close()
	for r := range results.Next() {
		if r.Error != nil {
			return fmt.Errorf("list blocks: %w", r.Error)
		}
		k := datastore.RawKey(r.Key)
		hash, err := dshelp.DsKeyToMultihash(k)
		if err != nil {
			n.log.Warn("file among the blocks is no block", "name", r.Key)
			continue
		}
		if err := do(stored{key: k, hash: hash, size: int64(r.Size)}); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// Verify implements ipfs.Node. Leaves are read and hashed on all processors.
func (n *Node) Verify(ctx context.Context, root jobspec.CID) (ipfs.Stat, error) {
	var blocks, size atomic.Int64
	count := func(data []byte) {
		blocks.Add(1)
		size.Add(int64(len(data)))
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	err := walk.DAG(gctx, here{n}, []jobspec.CID{root}, cidset.New(), walk.Visit{
		Branch: func(c jobspec.CID, data []byte) error {
			if _, ok := dag.Identity(c); !ok {
				count(data)
			}
			return nil
		},
		Leaf: func(c jobspec.CID) error {
			g.Go(func() error {
				data, err := n.local(gctx, c)
				if _, ok := dag.Identity(c); err == nil && !ok {
					count(data)
				}
				return err
			})
			return nil
		},
	})
	// The first error of a leaf ends gctx, and with it the walk.
	if gerr := g.Wait(); gerr != nil {
		err = gerr
	}
	if err != nil {
		return ipfs.Stat{}, fmt.Errorf("verify %s: %w", root, err)
	}
	return ipfs.Stat{Blocks: blocks.Load(), Bytes: size.Load()}, nil
}

// usage counts the blocks on disk. It is counted once, when it is first asked
// for, and kept up from then on; two Adds that write one block at the same
// time count it twice until the next GC.
type usage struct {
	mu      sync.Mutex
	counted bool
	stat    ipfs.Stat
}

func (u *usage) add(s ipfs.Stat) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.stat.Blocks += s.Blocks
	u.stat.Bytes += s.Bytes
}

func (u *usage) set(s ipfs.Stat) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.stat, u.counted = s, true
}

// Stat implements ipfs.Node.
func (n *Node) Stat(ctx context.Context) (ipfs.Stat, error) {
	n.usage.mu.Lock()
	defer n.usage.mu.Unlock()
	if n.usage.counted {
		return n.usage.stat, nil
	}
	var s ipfs.Stat
	err := n.each(ctx, func(b stored) error {
		s.Blocks++
		s.Bytes += b.size
		return nil
	})
	if err != nil {
		return ipfs.Stat{}, err
	}
	n.usage.stat, n.usage.counted = s, true
	return s, nil
}
