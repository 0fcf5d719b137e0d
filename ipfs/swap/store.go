package swap

import (
	"context"
	"errors"

	"github.com/ipfs/boxo/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/ipdc/ipdc/jobspec"
)

// stored is what bitswap may serve: what is stored here, read-only.
type stored struct{ s *Swap }

var _ blockstore.Blockstore = stored{}

// Has implements blockstore.Blockstore.
func (v stored) Has(ctx context.Context, c cid.Cid) (bool, error) {
	local := v.s.local.Load()
	if local == nil {
		return false, nil
	}
	return (*local).Has(ctx, jobspec.WrapCID(c))
}

// Get implements blockstore.Blockstore. It looks first, as a node's own Get
// would fetch what is missing.
func (v stored) Get(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	ok, err := v.Has(ctx, c)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, ipld.ErrNotFound{Cid: c}
	}
	data, err := (*v.s.local.Load()).Get(ctx, jobspec.WrapCID(c))
	if err != nil {
		return nil, err
	}
	return blocks.NewBlockWithCid(data, c)
}

// GetSize implements blockstore.Blockstore.
func (v stored) GetSize(ctx context.Context, c cid.Cid) (int, error) {
	b, err := v.Get(ctx, c)
	if err != nil {
		return -1, err
	}
	return len(b.RawData()), nil
}

// Put implements blockstore.Blockstore; whoever fetches stores.
func (stored) Put(context.Context, blocks.Block) error { return errors.ErrUnsupported }

// PutMany implements blockstore.Blockstore.
func (stored) PutMany(context.Context, []blocks.Block) error { return errors.ErrUnsupported }

// DeleteBlock implements blockstore.Blockstore.
func (stored) DeleteBlock(context.Context, cid.Cid) error { return errors.ErrUnsupported }

// AllKeysChan implements blockstore.Blockstore.
func (stored) AllKeysChan(context.Context) (<-chan cid.Cid, error) { return nil, errors.ErrUnsupported }
