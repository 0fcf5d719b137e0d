package embedded

import (
	"context"
	"fmt"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/internal/dag"
	"github.com/ipdc/ipdc/ipfs/internal/link"
	"github.com/ipdc/ipdc/jobspec"
)

// Add implements ipfs.Node.
func (n *Node) Add(ctx context.Context, name string, fill func(ipfs.Session) (jobspec.CID, error)) (jobspec.CID, error) {
	s := n.begin()
	defer s.end(ctx)
	root, err := fill(s)
	if err != nil {
		return jobspec.CID{}, err // the caller's own, which needs no word of ours
	}
	if err := n.settle(ctx, name, s, root); err != nil {
		return jobspec.CID{}, fmt.Errorf("add %q: %w", name, err)
	}
	return root, nil
}

// settle makes what a session put durable, and pins the root.
func (n *Node) settle(ctx context.Context, name string, s *session, root jobspec.CID) error {
	if err := s.flush(ctx); err != nil {
		return err
	}
	n.pinning.RLock()
	defer n.pinning.RUnlock()
	if !s.closed(root) {
		if err := n.checkWhole(ctx, root, s.held); err != nil {
			return err
		}
	}
	return n.pins.put(ctx, name, root)
}

// Pin implements ipfs.Node.
func (n *Node) Pin(ctx context.Context, name string, root jobspec.CID) error {
	n.pinning.RLock()
	defer n.pinning.RUnlock()
	if err := n.checkWhole(ctx, root, newBlockSet()); err != nil {
		return fmt.Errorf("pin %q: %w", name, err)
	}
	return n.pins.put(ctx, name, root)
}

// checkWhole returns an error unless every block below root is stored. Blocks
// with links are read and verified; of the others, those that are not known to
// be stored are looked for.
func (n *Node) checkWhole(ctx context.Context, root jobspec.CID, known *blockSet) error {
	err := n.walk(ctx, []jobspec.CID{root}, newBlockSet(), visit{leaf: func(c jobspec.CID) error {
		if known.has(c) {
			return nil
		}
		ok, err := n.Has(ctx, c)
		if err == nil && !ok {
			err = missing(c)
		}
		return err
	}})
	if err != nil {
		return fmt.Errorf("DAG %s is not whole: %w", root, err)
	}
	return nil
}

// visit is what a walk does at each block, other than following links.
type visit struct {
	leaf   func(jobspec.CID) error         // a block that has no links and was not read
	branch func(jobspec.CID, []byte) error // a block that was read; may be nil
}

// walk visits every block that the roots reach and that is not in seen, once,
// and adds it to seen. It needs no depth limit: it does not recurse, and a DAG
// that is stored is as deep as its blocks at most.
func (n *Node) walk(ctx context.Context, roots []jobspec.CID, seen *blockSet, v visit) error {
	stack := roots
	for len(stack) > 0 {
		c := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if err := dag.CheckCID(c); err != nil {
			return err
		}
		if !seen.add(c) {
			continue
		}
		if link.None(c) {
			if err := v.leaf(c); err != nil {
				return err
			}
			continue
		}
		links, err := n.readBranch(ctx, c, v)
		if err != nil {
			return err
		}
		for _, l := range links {
			if !seen.has(l) {
				stack = append(stack, l)
			}
		}
	}
	return ctx.Err()
}

func (n *Node) readBranch(ctx context.Context, c jobspec.CID, v visit) ([]jobspec.CID, error) {
	data, err := n.Get(ctx, c)
	if err != nil {
		return nil, err
	}
	if v.branch != nil {
		if err := v.branch(c, data); err != nil {
			return nil, err
		}
	}
	return link.Of(c, data)
}

func rawCID(hash multihash.Multihash) jobspec.CID {
	return jobspec.WrapCID(cid.NewCidV1(cid.Raw, hash))
}
