package car

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/fxamacker/cbor/v2"
	"github.com/ipfs/go-cid"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/internal/dag"
	"github.com/ipdc/ipdc/jobspec"
)

// Options bound what Read takes.
type Options struct {
	// RootLast takes the last block as the root and ignores those of the
	// header: who streams a DAG as it grows cannot know its root before.
	RootLast  bool
	MaxBytes  int64 // of the stream, repeated blocks included; 0 = no limit
	MaxBlocks int64 // repeated ones included; 0 = no limit
}

// Stats counts what Read took.
type Stats struct {
	Blocks int64 // sections, repeated blocks included
	Bytes  int64 // of the stream
}

// Read puts every block of a CAR into s and returns its root. The caller's
// Add checks that the DAG below the root is whole, and so finds a stream that
// was cut between two sections.
//
// The error is of kind E_CAR_FORMAT when the stream is not well-formed or
// ends early, E_CAR_ROOTS when there is not exactly one root or it is not
// among the blocks, E_LIMIT_BYTES or E_LIMIT (blocks) at a limit, E_CID_HASH
// or E_BLOCK_HASH when a block is not what its CID says. What was put before
// is garbage.
func Read(ctx context.Context, r io.Reader, s ipfs.Session, o Options) (jobspec.CID, Stats, error) {
	in := &importer{s: s, o: o, roots: 1}
	roots, err := in.from(ctx, r)
	if err != nil {
		return jobspec.CID{}, in.stats, err
	}
	return roots[0], in.stats, nil
}

// ReadRoots is Read for a CAR of one or more roots, at most 1,000, and returns
// them as the header names them. The error is of kind E_CAR_ROOTS when one of
// them is not among the blocks.
func ReadRoots(ctx context.Context, r io.Reader, s ipfs.Session, o Options) ([]jobspec.CID, Stats, error) {
	in := &importer{s: s, o: o, roots: maxRoots}
	roots, err := in.from(ctx, r)
	return roots, in.stats, err
}

// Roots returns what the header of a CAR names, at most 1,000 roots, and reads
// no block of it.
func Roots(r io.Reader) ([]jobspec.CID, error) {
	cr, err := newReader(r)
	if err != nil {
		return nil, fmt.Errorf("read CAR: %w", err)
	}
	return rootsOf(cr.roots, maxRoots)
}

// maxRoots is far more than any writer of CARs gives.
const maxRoots = 1000

type importer struct {
	s     ipfs.Session
	o     Options
	roots int // at most
	in    *capped
	stats Stats
}

func (in *importer) from(ctx context.Context, r io.Reader) ([]jobspec.CID, error) {
	in.in = &capped{r: r, max: in.o.MaxBytes}
	roots, err := in.read(ctx)
	in.stats.Bytes = in.in.n
	if err != nil {
		return nil, fmt.Errorf("read CAR: %w", err)
	}
	return roots, nil
}

func (in *importer) read(ctx context.Context) ([]jobspec.CID, error) {
	cr, err := newReader(in.in)
	if err != nil {
		return nil, err
	}
	if in.o.RootLast {
		last, err := in.blocks(ctx, cr, nil)
		if err == nil && !last.Defined() {
			err = jobspec.KindCARRoots.Errorf("CAR without a block has no root")
		}
		return []jobspec.CID{last}, err
	}
	roots, err := rootsOf(cr.roots, in.roots)
	if err != nil {
		return nil, err
	}
	missing := map[jobspec.CID]bool{}
	for _, c := range roots {
		if _, ok := dag.Identity(c); !ok {
			missing[c] = true
		}
	}
	last, err := in.blocks(ctx, cr, missing)
	if err != nil {
		return nil, err
	}
	for _, c := range roots {
		switch {
		case missing[c]:
			return nil, jobspec.KindCARRoots.Errorf("root %s is not among the %d blocks of the CAR", c, in.stats.Blocks)
		case last.Defined() && c == noRoot:
			return nil, jobspec.KindCARRoots.Errorf("the header's root is the placeholder of a writer that did not know it")
		}
	}
	return roots, nil
}

// blocks puts all blocks, takes them out of missing, and returns the last.
func (in *importer) blocks(ctx context.Context, cr *reader, missing map[jobspec.CID]bool) (last jobspec.CID, err error) {
	for {
		c, data, err := cr.next()
		if errors.Is(err, io.EOF) {
			return last, nil
		}
		if err == nil {
			err = in.put(ctx, c, data)
		}
		if err != nil {
			return last, err
		}
		delete(missing, c)
		last = c
	}
}

func (in *importer) put(ctx context.Context, c jobspec.CID, data []byte) error {
	in.stats.Blocks++
	if in.o.MaxBlocks > 0 && in.stats.Blocks > in.o.MaxBlocks {
		return jobspec.KindLimit.Errorf("CAR has over %d blocks", in.o.MaxBlocks)
	}
	return in.s.Put(ctx, c, data)
}

// noRoot is the empty identity CID, which writers put where they have no root.
var noRoot = jobspec.WrapCID(cid.MustParse("bafkqaaa"))

// rootsOf returns the roots of a header that has 1 to most of them.
func rootsOf(list []cbor.RawMessage, most int) ([]jobspec.CID, error) {
	switch {
	case most == 1 && len(list) != 1:
		return nil, jobspec.KindCARRoots.Errorf("CAR header has %d roots, want 1", len(list))
	case len(list) == 0 || len(list) > most:
		return nil, jobspec.KindCARRoots.Errorf("CAR header has %d roots, want 1 to %d", len(list), most)
	}
	roots := make([]jobspec.CID, 0, len(list))
	for _, raw := range list {
		c, err := rootOf(raw)
		if err != nil {
			return nil, err
		}
		roots = append(roots, c)
	}
	return roots, nil
}

func rootOf(raw cbor.RawMessage) (jobspec.CID, error) {
	var tag cbor.RawTag
	var data []byte
	err := cbor.Unmarshal(raw, &tag)
	if err == nil {
		err = cbor.Unmarshal(tag.Content, &data)
	}
	if err != nil || tag.Number != linkTag || len(data) < 2 || data[0] != 0 {
		return jobspec.CID{}, jobspec.KindCARRoots.Errorf("a root in the CAR header is no CID")
	}
	c, err := cid.Cast(data[1:])
	if err != nil {
		return jobspec.CID{}, jobspec.KindCARRoots.Errorf("a root in the CAR header is no CID: %v", err)
	}
	root := jobspec.WrapCID(c)
	return root, dag.CheckCID(root)
}

// capped counts the bytes of a stream and fails after max of them.
type capped struct {
	r      io.Reader
	n, max int64
}

func (c *capped) Read(p []byte) (int, error) {
	if c.max > 0 {
		if c.n > c.max {
			return 0, jobspec.KindLimitBytes.Errorf("CAR has over %d bytes", c.max)
		}
		p = p[:min(int64(len(p)), c.max-c.n+1)] // one more tells that it is too long
	}
	n, err := c.r.Read(p)
	if c.n += int64(n); c.max > 0 && c.n > c.max {
		return 0, jobspec.KindLimitBytes.Errorf("CAR has over %d bytes", c.max)
	}
	return n, err
}
