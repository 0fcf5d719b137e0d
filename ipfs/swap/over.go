package swap

import (
	"context"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/internal/cidset"
	"github.com/ipdc/ipdc/ipfs/internal/link"
	"github.com/ipdc/ipdc/jobspec"
)

// Over returns node with the members, which f asks, before it looks elsewhere
// itself: for a backend that cannot be given a Fetcher, such as the user's own
// Kubo, whose configuration stays as it is.
func Over(node ipfs.Node, f Fetcher) ipfs.Node { return over{node, f} }

type over struct {
	ipfs.Node
	f Fetcher
}

// Get implements ipfs.Getter.
func (o over) Get(ctx context.Context, c jobspec.CID) ([]byte, error) {
	ok, err := o.Has(ctx, c)
	if err != nil {
		return nil, err
	}
	if ok {
		return o.Node.Get(ctx, c)
	}
	data, err := o.f.Block(ctx, c)
	if isMissing(err) {
		return o.Node.Get(ctx, c)
	}
	return data, err
}

// Pin implements ipfs.Node. What the members have is stored before the node
// pins; the rest it fetches as it does without them.
func (o over) Pin(ctx context.Context, name string, root jobspec.CID) error {
	lost, err := o.missingBelow(ctx, root)
	if err != nil {
		return err
	}
	if len(lost) == 0 {
		return o.Node.Pin(ctx, name, root)
	}
	_, err = o.Add(ctx, name, func(w ipfs.Session) (jobspec.CID, error) {
		return root, o.f.DAG(ctx, lost, func(c jobspec.CID, data []byte) error { return w.Put(ctx, c, data) })
	})
	if isMissing(err) {
		return o.Node.Pin(ctx, name, root)
	}
	return err
}

// missingBelow returns the topmost blocks below root that are not stored.
func (o over) missingBelow(ctx context.Context, root jobspec.CID) (lost []jobspec.CID, err error) {
	seen := cidset.New()
	for stack := []jobspec.CID{root}; len(stack) > 0; {
		c := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if !seen.Add(c) {
			continue
		}
		ok, err := o.Has(ctx, c)
		if err != nil {
			return nil, err
		}
		if !ok {
			lost = append(lost, c)
		}
		if !ok || link.None(c) {
			continue
		}
		data, err := o.Node.Get(ctx, c)
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
