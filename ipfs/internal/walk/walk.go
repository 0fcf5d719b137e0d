// Package walk visits every block of a DAG, for the adapters of ipfs.Node.
//
//	err := walk.DAG(ctx, node, []jobspec.CID{root}, cidset.New(), walk.Visit{
//		Leaf: func(c jobspec.CID) error { return present(c) },
//	})
//
// Invariants: no block is visited twice with one codec; a CID of an untrusted
// hash or of a codec whose links cannot be found ends the walk with an error,
// as what lies below it would be missed.
package walk

import (
	"context"
	"slices"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/internal/cidset"
	"github.com/ipdc/ipdc/ipfs/internal/dag"
	"github.com/ipdc/ipdc/ipfs/internal/link"
	"github.com/ipdc/ipdc/jobspec"
)

// Visit is what a walk does at each block, other than following links.
type Visit struct {
	Leaf   func(jobspec.CID) error         // a block that has no links and was not read
	Branch func(jobspec.CID, []byte) error // a block that was read; may be nil
	// Missing is asked when a block cannot be read: nil passes over it and
	// what is below it. Without it the walk ends.
	Missing func(jobspec.CID, error) error
}

// DAG visits every block that the roots reach and that is not in seen, once,
// depth first in the order of links, and adds it to seen. It needs no depth limit: it does not recurse, and a DAG
// that is stored is as deep as its blocks at most.
func DAG(ctx context.Context, g ipfs.Getter, roots []jobspec.CID, seen *cidset.Set, v Visit) error {
	stack := roots
	for len(stack) > 0 {
		c := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if err := dag.CheckCID(c); err != nil {
			return err
		}
		if !seen.Add(c) {
			continue
		}
		if link.None(c) {
			if err := v.Leaf(c); err != nil {
				return err
			}
			continue
		}
		links, err := readBranch(ctx, g, c, v)
		if err != nil {
			return err
		}
		for _, l := range slices.Backward(links) {
			if !seen.Has(l) {
				stack = append(stack, l)
			}
		}
	}
	return ctx.Err()
}

func readBranch(ctx context.Context, g ipfs.Getter, c jobspec.CID, v Visit) ([]jobspec.CID, error) {
	data, err := g.Get(ctx, c)
	if err != nil && v.Missing != nil {
		return nil, v.Missing(c, err)
	}
	if err != nil {
		return nil, err
	}
	if v.Branch != nil {
		if err := v.Branch(c, data); err != nil {
			return nil, err
		}
	}
	return link.Of(c, data)
}
