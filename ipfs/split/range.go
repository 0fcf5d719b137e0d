package split

import (
	"context"
	"fmt"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
)

// Range returns a file of the bytes [from, to) of the file at c, which links to
// its leaves: those at the two borders are cut, the others are not read. The
// error is of kind E_SPEC when the file has no such bytes.
func Range(ctx context.Context, s ipfs.Session, c jobspec.CID, from, to int64, b ipfs.Budget) (jobspec.CID, error) {
	size, err := tree.Leaves(ctx, s, c, b, 0, 0, func(tree.Leaf) error { return nil })
	if err != nil {
		return jobspec.CID{}, err
	}
	if from < 0 || from >= to || to > size {
		return jobspec.CID{}, jobspec.KindSpec.Errorf("file %s has %d bytes, and no range from %d to %d", c, size, from, to)
	}
	b.Blocks = pieceLeaves
	cut := &cutter{s: s, o: Options{Budget: b}, left: allLeaves}
	l, err := cut.slice(ctx, piece{file{cid: c, size: size}, from, to})
	if err != nil {
		return jobspec.CID{}, fmt.Errorf("bytes %d to %d of %s: %w", from, to, c, err)
	}
	return l.CID, nil
}
