package embedded

import (
	"context"
	"errors"
	"fmt"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/internal/cidset"
	"github.com/ipdc/ipdc/ipfs/internal/dag"
	"github.com/ipdc/ipdc/ipfs/internal/link"
	"github.com/ipdc/ipdc/jobspec"
)

// Fetcher gets what is not stored here from elsewhere. Its methods may be
// called concurrently, and their errors are of kind E_FETCH_TIMEOUT when
// nobody has a block. What it gives is verified again before it is stored.
type Fetcher interface {
	Block(ctx context.Context, c jobspec.CID) ([]byte, error)
	// DAG calls put for every block below roots, one call at a time, and
	// ends when put fails.
	DAG(ctx context.Context, roots []jobspec.CID, put func(jobspec.CID, []byte) error) error
}

// roomEvery is how many fetched bytes come between two looks at the disk.
const roomEvery = 16 << 20

// fetchBlock gets a block that is not stored, and keeps it until the next GC
// where there is room: a path is read block by block before a pin is set.
func (n *Node) fetchBlock(ctx context.Context, c jobspec.CID) ([]byte, error) {
	data, err := n.fetcher.Block(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := dag.Verify(c, data); err != nil {
		return nil, err
	}
	if n.room(ctx, int64(len(data))) != nil {
		return data, nil
	}
	// Whoever finds the block stored must find it durable, see commits.
	n.commits.RLock()
	defer n.commits.RUnlock()
	if err := n.blocks.Put(ctx, key(c), data); err != nil {
		return nil, fmt.Errorf("write block %s: %w", c, err)
	}
	n.usage.add(ipfs.Stat{Blocks: 1, Bytes: int64(len(data))})
	return data, nil
}

// fetchAndPin pins a DAG of which something is missing.
func (n *Node) fetchAndPin(ctx context.Context, name string, root jobspec.CID) error {
	if err := n.room(ctx, 0); err != nil {
		return err
	}
	s := n.begin()
	defer s.end(ctx)
	lost, err := n.missingBelow(ctx, s, root)
	if err != nil {
		return err
	}
	since := int64(0)
	err = n.fetcher.DAG(ctx, lost, func(c jobspec.CID, data []byte) error {
		if since += int64(len(data)); since > roomEvery {
			since = 0
			if err := n.room(ctx, 0); err != nil {
				return err
			}
		}
		return s.Put(ctx, c, data)
	})
	if err != nil {
		return err
	}
	return n.settle(ctx, name, s, root)
}

// missingBelow makes the session keep what is stored below root, and returns the topmost blocks that are not.
func (n *Node) missingBelow(ctx context.Context, s *session, root jobspec.CID) (lost []jobspec.CID, err error) {
	seen := cidset.New()
	for stack := []jobspec.CID{root}; len(stack) > 0; {
		c := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if err := dag.CheckCID(c); err != nil {
			return nil, err
		}
		if !seen.Add(c) {
			continue
		}
		s.keep(c)
		if link.None(c) {
			ok, err := n.Has(ctx, c)
			if err != nil {
				return nil, err
			}
			if !ok {
				lost = append(lost, c)
			}
			continue
		}
		data, err := n.local(ctx, c)
		if isMissing(err) {
			lost = append(lost, c)
			continue
		}
		if err != nil {
			return nil, err
		}
		links, err := link.Of(c, data)
		if err != nil {
			return nil, err
		}
		stack = append(stack, links...)
	}
	return lost, nil
}

func isMissing(err error) bool { return errors.Is(err, jobspec.KindFetchTimeout.Error()) }
