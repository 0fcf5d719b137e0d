package car

import (
	"context"
	"fmt"
	"io"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/internal/cidset"
	"github.com/ipdc/ipdc/ipfs/internal/dag"
	"github.com/ipdc/ipdc/ipfs/internal/link"
	"github.com/ipdc/ipdc/jobspec"
)

const (
	keptBytes   = 16 << 20 // of nodes that Get can still give
	knownBlocks = 1 << 18  // CIDs that are not written again; about 20 MB at most
	joinedBytes = 16 << 10 // a smaller block is written in one call with its head
)

var _ ipfs.Session = (*Writer)(nil)

// Writer is an ipfs.Session whose blocks go to a stream as they are put: a
// CARv1 without roots, for a reader with Options.RootLast. Nothing is buffered,
// so that there is nothing to close. It is used by one goroutine.
//
// Unlike other sessions it does not check that data hashes to its CID: whoever
// reads the stream does, and to hash all twice would be most of its cost.
//
// Get gives back the nodes with links that were put last, up to 16 MiB of
// them: a directory of what was packed is made from its nodes' sizes.
type Writer struct {
	w     io.Writer
	head  []byte // before the next block: the header at first
	known *cidset.Set
	left  int // that known takes
	nodes map[jobspec.CID][]byte
	order []jobspec.CID // of nodes, oldest first
	bytes int           // of nodes
	err   error         // of w; it stays
}

// NewWriter returns a Writer that writes nothing before the first Put.
func NewWriter(w io.Writer) *Writer {
	head, err := appendHeader(nil, jobspec.CID{})
	return &Writer{w: w, head: head, err: err, known: cidset.New(), left: knownBlocks, nodes: map[jobspec.CID][]byte{}}
}

// Get implements ipfs.Getter.
func (w *Writer) Get(ctx context.Context, c jobspec.CID) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if data, inline, err := dag.Inline(c); inline || err != nil {
		return data, err
	}
	if data, ok := w.nodes[c]; ok {
		return data, nil
	}
	return nil, jobspec.KindFetchTimeout.Errorf("block %s was streamed away", c)
}

// Put implements ipfs.Session.
func (w *Writer) Put(ctx context.Context, c jobspec.CID, data []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := dag.CheckCID(c); err != nil {
		return err
	}
	if len(data) > ipfs.MaxBlock {
		return jobspec.KindLimitBytes.Errorf("block %s has %d bytes, at most %d are allowed", c, len(data), ipfs.MaxBlock)
	}
	if w.err != nil {
		return w.err
	}
	if _, ok := dag.Identity(c); ok {
		return nil
	}
	if !w.known.Add(c) {
		return nil
	}
	if w.left--; w.left == 0 {
		w.known, w.left = cidset.New(), knownBlocks // readers take repeated blocks
	}
	w.keep(c, data)
	if err := w.write(c, data); err != nil {
		w.err = fmt.Errorf("write CAR: %w", err)
	}
	return w.err
}

func (w *Writer) keep(c jobspec.CID, data []byte) {
	if link.None(c) {
		return
	}
	if _, ok := w.nodes[c]; ok {
		return
	}
	w.nodes[c] = data
	w.order = append(w.order, c)
	for w.bytes += len(data); w.bytes > keptBytes; w.order = w.order[1:] {
		w.bytes -= len(w.nodes[w.order[0]])
		delete(w.nodes, w.order[0])
	}
}

func (w *Writer) write(c jobspec.CID, data []byte) error {
	w.head = appendSection(w.head, c, len(data))
	if len(data) <= joinedBytes {
		w.head = append(w.head, data...)
		data = nil
	}
	_, err := w.w.Write(w.head)
	w.head = w.head[:0]
	if err == nil && data != nil {
		_, err = w.w.Write(data)
	}
	return err
}
