package tree

import (
	"context"
	"fmt"
	"io"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/jobspec"
)

// Copy writes the content of the file at c to w and returns the number of
// bytes written. The error is of kind E_UNIXFS when c is no file,
// E_SIZE_MISMATCH when a declared size is not the real one.
func Copy(ctx context.Context, g ipfs.Getter, c jobspec.CID, w io.Writer, b ipfs.Budget) (int64, error) {
	m := newMeter(g, b)
	ctx, cancel := m.limit(ctx)
	defer cancel()
	var done func()
	m.g, done = ipfs.Stream(ctx, g, c)
	defer done()
	n, err := m.first(ctx, c)
	if err != nil {
		return 0, fmt.Errorf("read file %s: %w", c, err)
	}
	if n.kind != File {
		return 0, jobspec.KindUnixFS.Errorf("%s is a %s, want a file", c, n.kind)
	}
	if err := m.addBytes(n.size); err != nil {
		return 0, fmt.Errorf("read file %s: %w", c, err)
	}
	return (&Content{m: m, n: n}).Copy(ctx, w)
}

// Content is the content of a file that [Read] has come to.
type Content struct {
	m *meter
	n node
}

// Copy writes the content to w, once. It may be called until the visit that
// was given the Content returns. The blocks are read in depth-first link order.
func (f *Content) Copy(ctx context.Context, w io.Writer) (int64, error) {
	ctx, cancel := f.m.limit(ctx)
	defer cancel()
	var written int64
	write := func(p []byte) error {
		if len(p) == 0 {
			return nil
		}
		k, err := w.Write(p)
		written += int64(k)
		return err
	}
	if err := f.m.leaves(ctx, f.n, write); err != nil {
		return written, fmt.Errorf("copy file: %w", err)
	}
	return written, nil
}

// leaves gives the content of n to write, piece by piece. Each node's parts add
// up to its own size and each child has the size its parent declares, so what
// is written is exactly n.size bytes.
func (m *meter) leaves(ctx context.Context, n node, write func([]byte) error) error {
	var stack []fileFrame
	open := func(n node) error {
		if len(n.links) > 0 {
			stack = append(stack, fileFrame{links: n.links, sizes: n.sizes})
		}
		if len(stack) > m.budget.DAGDepth {
			return jobspec.KindDepth.Errorf("file has over %d levels of blocks", m.budget.DAGDepth)
		}
		if err := m.addBlocks(len(n.links)); err != nil {
			return err
		}
		return write(n.data)
	}
	err := open(n)
	for err == nil && len(stack) > 0 {
		top := &stack[len(stack)-1]
		if top.done == len(top.links) {
			stack = stack[:len(stack)-1]
			continue
		}
		top.done++
		var child node
		if child, err = m.part(ctx, *top); err == nil {
			err = open(child)
		}
	}
	return err
}

// fileFrame is an inner file node with the number of links that were followed.
type fileFrame struct {
	links []Link
	sizes []uint64
	done  int
}

// part reads the child of a file node that was followed last.
func (m *meter) part(ctx context.Context, f fileFrame) (node, error) {
	i := f.done - 1
	c := f.links[i].CID
	child, err := m.node(ctx, c)
	if err != nil {
		return node{}, err
	}
	if child.kind != File {
		return node{}, jobspec.KindUnixFS.Errorf("part %d of a file is %s, a %s", i, c, child.kind)
	}
	if uint64(child.size) != f.sizes[i] {
		return node{}, jobspec.KindSizeMismatch.Errorf("part %d of a file is %s of %d bytes, declared are %d", i, c, child.size, f.sizes[i])
	}
	return child, nil
}
