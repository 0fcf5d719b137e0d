package tree

import (
	"context"
	"errors"

	"github.com/ipfs/go-cid"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/internal/dag"
	"github.com/ipdc/ipdc/jobspec"
)

// Block is a block with its bytes.
type Block struct {
	CID  jobspec.CID
	Data []byte
}

// Way returns what the path from root to c leads through, and c: the blocks of
// each directory on it, so that the directories can be listed. Of one with more
// entries than the budget allows only those that lead to the next name. Their
// CIDs are those of the same bytes without links (codec raw), so that who keeps
// them does not keep all that the directories hold: stores know blocks by their
// hash.
func Way(ctx context.Context, g ipfs.Getter, root jobspec.CID, path []string, b ipfs.Budget) (c jobspec.CID, way []Block, err error) {
	r := &recorder{Getter: g, seen: map[jobspec.CID]bool{}}
	if c, err = Resolve(ctx, r, root, path); err != nil || len(path) == 0 {
		return c, nil, err
	}
	dir := root
	for i := range path {
		if _, err := Links(ctx, r, dir, b); err != nil && !errors.Is(err, jobspec.KindLimitEntries.Error()) {
			return c, nil, err
		}
		if dir, err = Resolve(ctx, g, dir, path[i:i+1]); err != nil {
			return c, nil, err
		}
	}
	return c, r.blocks, nil
}

// recorder remembers what was read through it.
type recorder struct {
	ipfs.Getter
	seen   map[jobspec.CID]bool
	blocks []Block
}

func (r *recorder) Get(ctx context.Context, c jobspec.CID) ([]byte, error) {
	data, err := r.Getter.Get(ctx, c)
	if _, inline := dag.Identity(c); err == nil && !inline && !r.seen[c] {
		r.seen[c] = true
		r.blocks = append(r.blocks, Block{jobspec.WrapCID(cid.NewCidV1(cid.Raw, c.Cid().Hash())), data})
	}
	return data, err
}
