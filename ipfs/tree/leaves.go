package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/ipfs/go-cid"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/jobspec"
)

// SkipAll as the result of a visit of a leaf ends the reading without an error.
var SkipAll = fs.SkipAll

// Leaf is a part of a file that holds its bytes in one block.
type Leaf struct {
	CID    jobspec.CID // undefined when the bytes stand in an inner node
	Offset int64       // of its first byte in the file
	Size   int64       // bytes of content
	// Tsize is the size of the leaf's block, as a link to it declares it.
	Tsize uint64

	data []byte // unless the leaf is a raw block, which nobody has read yet
	m    *meter
}

// Data returns the leaf's bytes, which the caller must not change. The block
// of a raw leaf is read now; the error is of kind E_SIZE_MISMATCH when it has
// another size than its file declares.
func (l Leaf) Data(ctx context.Context) ([]byte, error) {
	if l.data != nil || l.Size == 0 {
		return l.data, nil
	}
	n, err := l.m.node(ctx, l.CID)
	if err != nil {
		return nil, err
	}
	if n.size != l.Size {
		return nil, jobspec.KindSizeMismatch.Errorf("leaf %s has %d bytes, declared are %d", l.CID, n.size, l.Size)
	}
	return n.data, nil
}

// Leaves visits the leaves of the file at c that hold bytes of [from, to), in
// their order, and returns the file's size. It reads inner nodes only, and
// only those on the way: a raw leaf is read by [Leaf.Data], until the visit
// returns. A visit that returns [SkipAll] ends it. The error is of kind
// E_UNIXFS when c is no file.
func Leaves(ctx context.Context, g ipfs.Getter, c jobspec.CID, b ipfs.Budget, from, to int64, visit func(Leaf) error) (int64, error) {
	m := newMeter(g, b)
	ctx, cancel := m.limit(ctx)
	defer cancel()
	n, err := m.first(ctx, c)
	if err == nil && n.kind != File {
		err = jobspec.KindUnixFS.Errorf("this is a %s, want a file", n.kind)
	}
	if err == nil {
		r := leafRange{meter: m, from: from, to: to, visit: visit}
		err = r.file(ctx, c, n, 0, 0)
	}
	if err != nil && !errors.Is(err, SkipAll) {
		return 0, fmt.Errorf("read file %s: %w", c, err)
	}
	return n.size, nil
}

// leafRange visits the leaves within a range.
type leafRange struct {
	*meter
	from, to int64
	visit    func(Leaf) error
}

// file visits the leaves below n, whose content begins at offset. It calls
// itself at most Budget.DAGDepth deep.
func (r *leafRange) file(ctx context.Context, c jobspec.CID, n node, offset int64, depth int) error {
	if depth > r.budget.DAGDepth {
		return jobspec.KindDepth.Errorf("file has over %d levels of blocks", r.budget.DAGDepth)
	}
	if len(n.links) == 0 {
		return r.leaf(Leaf{CID: c, Offset: offset, Size: n.size, Tsize: n.stored, data: n.data})
	}
	if err := r.leaf(Leaf{Offset: offset, Size: int64(len(n.data)), data: n.data}); err != nil {
		return err
	}
	if err := r.addBlocks(len(n.links)); err != nil {
		return err
	}
	offset += int64(len(n.data))
	for i, l := range n.links {
		size := int64(n.sizes[i])
		var err error
		switch {
		case offset >= r.to:
			return nil
		case offset+size <= r.from: // before the range; an empty part is of no use either
		case l.CID.Cid().Prefix().Codec == cid.Raw:
			err = r.leaf(Leaf{CID: l.CID, Offset: offset, Size: size, Tsize: uint64(size)})
		default:
			var child node
			if child, err = r.part(ctx, fileFrame{links: n.links, sizes: n.sizes, done: i + 1}); err == nil {
				err = r.file(ctx, l.CID, child, offset, depth+1)
			}
		}
		if err != nil {
			return err
		}
		offset += size
	}
	return nil
}

func (r *leafRange) leaf(l Leaf) error {
	if l.Size == 0 || l.Offset >= r.to || l.Offset+l.Size <= r.from {
		return nil
	}
	l.m = r.meter
	return r.visit(l)
}

// Parts visits the parts of the file at c in their order without reading them:
// its leaves, or inner nodes that hold no more than a block does. Of the file
// only what leads to them is read. Bytes that stand in an inner node are left
// out. The error is of kind E_UNIXFS when c is no file.
func Parts(ctx context.Context, g ipfs.Getter, c jobspec.CID, b ipfs.Budget, visit func(c jobspec.CID, size int64) error) error {
	m := newMeter(g, b)
	ctx, cancel := m.limit(ctx)
	defer cancel()
	n, err := m.first(ctx, c)
	switch {
	case err != nil:
	case n.kind != File:
		err = jobspec.KindUnixFS.Errorf("this is a %s, want a file", n.kind)
	case len(n.links) == 0:
		err = visit(c, n.size)
	default:
		err = m.parts(ctx, n, 0, visit)
	}
	if err != nil {
		return fmt.Errorf("list file %s: %w", c, err)
	}
	return nil
}

// parts calls itself at most Budget.DAGDepth deep.
func (m *meter) parts(ctx context.Context, n node, depth int, visit func(jobspec.CID, int64) error) error {
	if depth > m.budget.DAGDepth {
		return jobspec.KindDepth.Errorf("file has over %d levels of blocks", m.budget.DAGDepth)
	}
	if err := m.addBlocks(len(n.links)); err != nil {
		return err
	}
	for i, l := range n.links {
		size := int64(n.sizes[i])
		if size <= ipfs.MaxBlock || l.CID.Cid().Prefix().Codec == cid.Raw {
			if err := visit(l.CID, size); err != nil {
				return err
			}
			continue
		}
		child, err := m.part(ctx, fileFrame{links: n.links, sizes: n.sizes, done: i + 1})
		if err == nil {
			err = m.parts(ctx, child, depth+1, visit)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
