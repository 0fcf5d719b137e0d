package merge

import (
	"context"
	"fmt"
	"math"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/internal/dag"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
)

// Concat joins directories recursively as Union does; files of one name become
// one file with their contents one behind the other, in the order of roots. No
// content is read or copied: the new file links to the leaves of the others. A
// name that is a file in one root and anything else in another is a clash, as
// are two symbolic links of different targets: the error is of kind E_DUP_NAME.
func Concat(ctx context.Context, s ipfs.Session, roots []jobspec.CID) (jobspec.CID, error) {
	u := union{s: s, ordered: true}
	u.same = u.concat
	l, err := u.dirs(ctx, "", roots, 1)
	if err == nil {
		err = u.clashes()
	}
	if err != nil {
		return jobspec.CID{}, fmt.Errorf("concatenation of %d directories: %w", len(roots), err)
	}
	return l.CID, nil
}

// concat links the leaves of files, in their order, into one file.
func (u *union) concat(ctx context.Context, path string, files []tree.Link) (dag.Link, error) {
	out := dag.NewFile(u.s)
	for _, f := range files {
		_, err := tree.Leaves(ctx, u.s, f.CID, joined, 0, math.MaxInt64, func(l tree.Leaf) error {
			if l.CID.Defined() {
				out.Add(dag.Link{CID: l.CID, Size: l.Tsize}, l.Size)
				return nil
			}
			data, err := l.Data(ctx)
			if err != nil {
				return err
			}
			leaf, err := dag.Leaf(ctx, u.s, data)
			out.Add(leaf, l.Size)
			return err
		})
		if err != nil {
			return dag.Link{}, fmt.Errorf("%.256q: %w", path, err)
		}
	}
	l, _, err := out.Write(ctx)
	return l, err
}
