package car

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-varint"

	"github.com/ipdc/ipdc/ipfs/internal/dag"
	"github.com/ipdc/ipdc/jobspec"
)

// Section is a block of a CAR that is scanned, verified.
type Section struct {
	CID jobspec.CID
	// Offset is where the section begins, with its length, in the CARv1: for
	// a CARv2 counted from its data payload, as in the index formats.
	Offset int64
	Data   []byte // good until the next section
}

// Layout is what the headers of a CAR say.
type Layout struct {
	Version int           // 1 or 2
	Base    int64         // where the CARv1 begins in the file
	Bytes   int64         // of the CARv1
	Roots   []jobspec.CID // 1 to 1,000
}

// Scan reads a CAR once, from its beginning, verifies each block and calls visit
// for it, or damaged, where that is not nil, for one that is not what its CID
// says. What stands behind the data of a CARv2 is not read. The errors are those
// of [Read], with the place in the file.
func Scan(ctx context.Context, r io.Reader, visit func(Section) error, damaged func(Section, error) error) (Layout, error) {
	cr, err := newReader(r)
	if err != nil {
		return Layout{}, fmt.Errorf("read CAR: %w", err)
	}
	cr.once = true
	l := Layout{Version: 1, Base: cr.base}
	if cr.left != nil {
		l.Version = 2
	}
	if l.Roots, err = rootsOf(cr.roots, maxRoots); err != nil {
		return l, fmt.Errorf("read CAR: %w", err)
	}
	for {
		at := cr.at
		c, data, err := cr.next()
		if errors.Is(err, io.EOF) {
			l.Bytes = cr.at
			return l, nil
		}
		do := visit
		if err == nil {
			if err = dag.Verify(c, data); damaged != nil && errors.Is(err, jobspec.KindBlockHash.Error()) {
				why := err
				err, do = nil, func(s Section) error { return damaged(s, why) }
			}
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return l, fmt.Errorf("read CAR: section at byte %d of the file: %w", l.Base+at, err)
		}
		if err := do(Section{CID: c, Offset: at, Data: data}); err != nil {
			return l, err
		}
	}
}

// headChunk is read of a section first: all of most nodes, and of larger blocks
// what says how long they are.
const headChunk = 4 << 10

// At returns the bytes of c in the section that begins at off, verified. The
// error is of kind E_CAR_FORMAT when there is no section, E_BLOCK_HASH when it
// holds another block; of reading it is as it came.
func At(r io.ReaderAt, off int64, c jobspec.CID) ([]byte, error) {
	head := make([]byte, headChunk)
	n, err := r.ReadAt(head, off)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	head = head[:n]
	size, k, err := varint.FromUvarint(head)
	if err != nil || size == 0 || size > dag.MaxBlock+maxCID {
		return nil, jobspec.KindCARFormat.Errorf("no section begins here")
	}
	data := head[k:]
	if uint64(len(data)) < size {
		data = append(make([]byte, 0, size), data...)[:size]
		if m, err := r.ReadAt(data[n-k:], off+int64(n)); err != nil && n-k+m < int(size) {
			return nil, cut(fmt.Sprintf("CAR section of %d bytes", size), err)
		}
	}
	data = data[:size]
	l, _, err := cid.CidFromBytes(data)
	if err != nil {
		return nil, jobspec.KindCARFormat.Errorf("the section of %d bytes has no CID", size)
	}
	return data[l:], dag.Verify(c, data[l:])
}
