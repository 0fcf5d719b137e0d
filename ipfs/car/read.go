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
	in := &importer{s: s, o: o, in: &capped{r: r, max: o.MaxBytes}}
	root, err := in.read(ctx)
	in.stats.Bytes = in.in.n
	if err != nil {
		return jobspec.CID{}, in.stats, fmt.Errorf("read CAR: %w", err)
	}
	return root, in.stats, nil
}

type importer struct {
	s     ipfs.Session
	o     Options
	in    *capped
	stats Stats
}

func (in *importer) read(ctx context.Context) (jobspec.CID, error) {
	cr, err := newReader(in.in)
	if err != nil {
		return jobspec.CID{}, err
	}
	var want jobspec.CID
	if !in.o.RootLast {
		if want, err = soleRoot(cr.roots); err != nil {
			return jobspec.CID{}, err
		}
	}
	var last jobspec.CID
	_, found := dag.Identity(want)
	for {
		c, data, err := cr.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = in.put(ctx, c, data)
		}
		if err != nil {
			return jobspec.CID{}, err
		}
		last = c
		found = found || c == want
	}
	switch {
	case in.o.RootLast && !last.Defined():
		return last, jobspec.KindCARRoots.Errorf("CAR without a block has no root")
	case in.o.RootLast:
		return last, nil
	case !found:
		return want, jobspec.KindCARRoots.Errorf("root %s is not among the %d blocks of the CAR", want, in.stats.Blocks)
	case last.Defined() && want == noRoot:
		return want, jobspec.KindCARRoots.Errorf("the header's root is the placeholder of a writer that did not know it")
	}
	return want, nil
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

// soleRoot returns the root of a header that has exactly one.
func soleRoot(roots []cbor.RawMessage) (jobspec.CID, error) {
	if len(roots) != 1 {
		return jobspec.CID{}, jobspec.KindCARRoots.Errorf("CAR header has %d roots, want 1", len(roots))
	}
	var tag cbor.RawTag
	var data []byte
	err := cbor.Unmarshal(roots[0], &tag)
	if err == nil {
		err = cbor.Unmarshal(tag.Content, &data)
	}
	if err != nil || tag.Number != linkTag || len(data) < 2 || data[0] != 0 {
		return jobspec.CID{}, jobspec.KindCARRoots.Errorf("the root in the CAR header is no CID")
	}
	c, err := cid.Cast(data[1:])
	if err != nil {
		return jobspec.CID{}, jobspec.KindCARRoots.Errorf("the root in the CAR header is no CID: %v", err)
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
