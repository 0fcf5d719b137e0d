package kubo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/internal/dag"
	"github.com/ipdc/ipdc/ipfs/internal/pindb"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
)

// doubtTime is how long Kubo may go on with an import that nobody waits for.
const doubtTime = time.Minute

// labelBlock returns the block that is pinned for a root: dag-cbor
// {"ipdc": owner, "root": link}. `ipfs dag get` shows it.
func (n *Node) labelBlock(root jobspec.CID) (jobspec.CID, []byte, error) {
	data, err := cbor.Marshal(struct {
		Owner string   `cbor:"ipdc"`
		Root  cbor.Tag `cbor:"root"`
	}{n.owner, cbor.Tag{Number: 42, Content: append([]byte{0}, root.Cid().Bytes()...)}})
	if err != nil {
		return jobspec.CID{}, nil, fmt.Errorf("label of %s: %w", root, err)
	}
	sum, err := multihash.Sum(data, multihash.SHA2_256, -1)
	if err != nil {
		return jobspec.CID{}, nil, fmt.Errorf("label of %s: %w", root, err)
	}
	return jobspec.WrapCID(cid.NewCidV1(cid.DagCBOR, sum)), data, nil
}

// withLabel is the Getter of a label and of the blocks of g.
type withLabel struct {
	ipfs.Getter
	label jobspec.CID
	data  []byte
}

func (w withLabel) Get(ctx context.Context, c jobspec.CID) ([]byte, error) {
	if c == w.label {
		return w.data, nil
	}
	return w.Getter.Get(ctx, c)
}

// keep sends the blocks of list to Kubo, pins the label of root, and names it.
func (n *Node) keep(ctx context.Context, name string, root jobspec.CID, st ipfs.Stat, g ipfs.Getter, list []jobspec.CID) error {
	if err := n.turn.Acquire(ctx, 1); err != nil {
		return err
	}
	defer n.turn.Release(1)
	label, data, err := n.labelBlock(root)
	if err != nil {
		return err
	}
	pinned, err := n.isPinned(ctx, root, label)
	if err != nil {
		return err
	}
	if !pinned {
		err = n.dagImport(ctx, label, append(list, label), withLabel{g, label, data}, st.Bytes, true)
		if err != nil && !errors.As(err, new(*answerError)) {
			n.doubt[root] = time.Now()
		}
	} else if len(list) > 0 { // Kubo may have lost some of them
		err = n.dagImport(ctx, label, list, g, st.Bytes, false)
	}
	// From here on a ctx that ends must not leave it open what holds.
	if err == nil {
		err = ctx.Err()
	}
	ctx = context.WithoutCancel(ctx)
	if err == nil {
		err = n.name(ctx, name, root, st)
	}
	return errors.Join(err, n.release(ctx))
}

func (n *Node) name(ctx context.Context, name string, root jobspec.CID, st ipfs.Stat) error {
	if name == "" {
		return errors.New("a pin needs a name")
	}
	return n.pins.name(ctx, name, root, st)
}

// keepPinned names a root that is pinned already, and reports whether it is:
// nothing below it needs to be looked at again.
func (n *Node) keepPinned(ctx context.Context, name string, root jobspec.CID) (bool, error) {
	if err := dag.CheckCID(root); err != nil {
		return false, err
	}
	if err := n.turn.Acquire(ctx, 1); err != nil {
		return false, err
	}
	defer n.turn.Release(1)
	st, ok, err := n.pins.pinned(ctx, root)
	if err != nil || !ok {
		return false, err
	}
	label, _, err := n.labelBlock(root)
	if err != nil {
		return false, err
	}
	if ok, err := n.rpc.pinned(ctx, label); err != nil || !ok {
		return false, err
	}
	ctx = context.WithoutCancel(ctx)
	return true, errors.Join(n.name(ctx, name, root, st), n.release(ctx))
}

// isPinned notes the intent to pin root, and reports whether Kubo does already.
func (n *Node) isPinned(ctx context.Context, root, label jobspec.CID) (bool, error) {
	pinned, err := n.pins.intend(ctx, root)
	if err != nil || !pinned {
		return false, err
	}
	return n.rpc.pinned(ctx, label)
}

// release takes the pins off that no name holds. What fails is noted and is
// done the next time. The caller has the turn.
func (n *Node) release(ctx context.Context) error {
	roots, err := n.pins.unnamed(ctx)
	if err != nil {
		return err
	}
	for _, root := range roots {
		label, _, err := n.labelBlock(root)
		if err != nil {
			return err
		}
		was, err := n.rpc.unpin(ctx, label)
		if err != nil {
			n.log.Warn("cannot take a pin off; trying again later", "cid", label, "root", root, "err", err)
			return nil
		}
		if since, ok := n.doubt[root]; ok && !was && time.Since(since) < doubtTime {
			continue
		}
		delete(n.doubt, root)
		if err := n.pins.forget(ctx, root); err != nil {
			return err
		}
	}
	return nil
}

// recover takes the pins off that an earlier process did not come to name, and
// sets those again that somebody took off.
func (n *Node) recover(ctx context.Context) error {
	left, err := n.pins.unnamed(ctx)
	if err != nil {
		return err
	}
	for _, root := range left {
		n.doubt[root] = time.Now()
	}
	if err := n.release(ctx); err != nil {
		return err
	}
	roots, err := n.pins.named(ctx)
	if err != nil {
		return err
	}
	for _, root := range roots {
		label, data, err := n.labelBlock(root)
		if err != nil {
			return err
		}
		if ok, err := n.rpc.pinned(ctx, label); err != nil || ok {
			if err != nil {
				return err
			}
			continue
		}
		again, cancel := context.WithTimeout(ctx, n.fetch)
		err = n.dagImport(again, label, []jobspec.CID{label}, withLabel{nil, label, data}, 0, true)
		cancel()
		if err != nil {
			n.log.Error("Kubo does not pin this any more, and cannot: part of it is gone; add the data again", "root", root, "label", label, "err", err)
			err = n.pins.lost(ctx, root)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Unpin implements ipfs.Node. A pin that cannot be taken off now, as Kubo does
// not answer, is taken off later.
func (n *Node) Unpin(ctx context.Context, name string) error {
	if err := n.pins.unname(ctx, name); err != nil {
		return err
	}
	return n.tidy(ctx)
}

func (n *Node) tidy(ctx context.Context) error {
	if err := n.turn.Acquire(ctx, 1); err != nil {
		return err
	}
	defer n.turn.Release(1)
	return n.release(ctx)
}

// Pins implements ipfs.Node.
func (n *Node) Pins(ctx context.Context, prefix string) ([]ipfs.Pin, error) {
	return pindb.List(ctx, n.pins.db, "names", prefix)
}

// GC implements ipfs.Node. It takes off pins that were left, and removes no
// block: when Kubo collects its garbage is for its user to say (ipfs repo gc).
func (n *Node) GC(ctx context.Context) (ipfs.Stat, error) {
	return ipfs.Stat{}, n.tidy(ctx)
}

// Stat implements ipfs.Node. It counts what our pins hold, blocks of two roots
// twice; counting a repository of the user's would keep its disk busy.
func (n *Node) Stat(ctx context.Context) (ipfs.Stat, error) { return n.pins.stat(ctx) }
