package embedded

import (
	"context"
	"fmt"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/ipdc/ipdc/internal/failpoint"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/internal/cidset"
	"github.com/ipdc/ipdc/ipfs/internal/walk"
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
	failpoint.Hit("pin.before-effect")
	n.pinning.RLock()
	defer n.pinning.RUnlock()
	if !s.closed(root) {
		if err := n.checkWhole(ctx, root, s.held, s.known()); err != nil {
			return err
		}
	}
	failpoint.Hit("pin.after-effect")
	err := n.pins.put(ctx, name, root)
	failpoint.Hit("pin.after-completion")
	return err
}

// Pin implements ipfs.Node.
func (n *Node) Pin(ctx context.Context, name string, root jobspec.CID) error {
	err := n.PinStored(ctx, name, root)
	if n.fetcher != nil && isMissing(err) {
		err = n.fetchAndPin(ctx, name, root)
	}
	if err != nil {
		return fmt.Errorf("pin %q: %w", name, err)
	}
	return nil
}

// PinStored implements ipfs.StoredPinner.
func (n *Node) PinStored(ctx context.Context, name string, root jobspec.CID) error {
	n.pinning.RLock()
	defer n.pinning.RUnlock()
	if err := n.checkWhole(ctx, root, cidset.New(), cidset.New()); err != nil {
		return err
	}
	return n.pins.put(ctx, name, root)
}

// checkWhole returns an error unless every block below root is stored. Blocks
// with links are read and verified; of the others, those that are not known to
// be stored are looked for. What is in seen is passed over.
func (n *Node) checkWhole(ctx context.Context, root jobspec.CID, known, seen *cidset.Set) error {
	err := walk.DAG(ctx, here{n}, []jobspec.CID{root}, seen, walk.Visit{Leaf: func(c jobspec.CID) error {
		if known.Has(c) {
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

func rawCID(hash multihash.Multihash) jobspec.CID {
	return jobspec.WrapCID(cid.NewCidV1(cid.Raw, hash))
}
