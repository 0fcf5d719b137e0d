// Package car reads and writes content-addressable archives of untrusted
// origin: https://ipld.io/specs/transport/car/.
//
//	err := car.Write(ctx, w, node, root)                  // CARv1, dfs, dups=y
//	root, stats, err := car.Read(ctx, r, session, car.Options{MaxBytes: 1 << 30})
//	stat, err := stage.Dir(ctx, car.NewSource(body), root, dir, stage.Options{})
//	root, _, err := pack.File(ctx, car.NewWriter(w), file) // streams as it packs
//
// Invariants: no block is read whose bytes do not hash to its CID; memory is
// bounded by one block (plus what [Writer] keeps), whatever lengths a stream
// declares; a stream that ends inside a header or a section is an error; the
// index of a CARv2 is never read.
package car

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/fxamacker/cbor/v2"
	"github.com/ipfs/go-cid"
	carv2 "github.com/ipld/go-car/v2"
	"github.com/multiformats/go-varint"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/internal/dag"
	"github.com/ipdc/ipdc/jobspec"
)

const (
	maxHeader = ipfs.MaxCARHeader // of CARv1
	maxCID    = 256               // bytes of a CID; the longest trusted one has less
	linkTag   = 42                // dag-cbor's tag of a link
)

// header is the CARv1 header, and the pragma of CARv2, which looks like one.
type header struct {
	Roots   []cbor.RawMessage `cbor:"roots"`
	Version uint64            `cbor:"version"`
}

// reader reads the sections of a CARv1, or of the one inside a CARv2.
type reader struct {
	r     *bufio.Reader
	left  *io.LimitedReader // of a CARv2: the rest of its data payload; else nil
	reuse bool              // a raw block is given away until the next one only
	once  bool              // every block is
	buf   []byte            // for the next section
	base  int64             // where the CARv1 begins in the stream
	at    int64             // bytes of the CARv1 that were read
	roots []cbor.RawMessage
}

func newReader(r io.Reader) (*reader, error) {
	cr := &reader{r: bufio.NewReaderSize(r, 64<<10)}
	h, err := cr.header()
	if err != nil {
		return nil, err
	}
	if h.Version == 2 {
		if err := cr.enterV2(); err != nil {
			return nil, err
		}
		if h, err = cr.header(); err != nil {
			return nil, err
		}
	}
	if h.Version != 1 {
		return nil, jobspec.KindCARFormat.Errorf("CAR of version %d, want 1 or 2", h.Version)
	}
	cr.roots = h.Roots
	return cr, nil
}

func (cr *reader) header() (header, error) {
	data, err := cr.sized(maxHeader, "header")
	if errors.Is(err, io.EOF) {
		err = jobspec.KindCARFormat.Errorf("CAR ends before its header")
	}
	if err != nil {
		return header{}, err
	}
	var h header
	if err := cbor.Unmarshal(data, &h); err != nil {
		return header{}, jobspec.KindCARFormat.Errorf("CAR header: %v", err)
	}
	return h, nil
}

// enterV2 goes to the data payload, as the fixed header of a CARv2 says.
func (cr *reader) enterV2() error {
	fixed := make([]byte, carv2.HeaderSize)
	if _, err := io.ReadFull(cr.r, fixed); err != nil {
		return cut("CARv2 header", err)
	}
	var h carv2.Header // refuses offsets and sizes that cannot be
	if _, err := h.ReadFrom(bytes.NewReader(fixed)); err != nil {
		return jobspec.KindCARFormat.Errorf("CARv2 header: %v", err)
	}
	padding := int64(h.DataOffset) - carv2.PragmaSize - carv2.HeaderSize
	if _, err := io.CopyN(io.Discard, cr.r, padding); err != nil {
		return cut("CARv2 padding", err)
	}
	cr.base, cr.at = int64(h.DataOffset), 0
	cr.left = &io.LimitedReader{R: cr.r, N: int64(h.DataSize)}
	cr.r = bufio.NewReaderSize(cr.left, 64<<10)
	return nil
}

// next returns the next block, not verified, or io.EOF at a clean end.
func (cr *reader) next() (jobspec.CID, []byte, error) {
	data, err := cr.sized(dag.MaxBlock+maxCID, "section")
	if errors.Is(err, io.EOF) && cr.left != nil && cr.left.N > 0 {
		err = jobspec.KindCARFormat.Errorf("CARv2 ends %d bytes before the end of its data", cr.left.N)
	}
	if err != nil {
		return jobspec.CID{}, nil, err
	}
	n, c, err := cid.CidFromBytes(data)
	if err != nil {
		return jobspec.CID{}, nil, jobspec.KindCARFormat.Errorf("CAR section of %d bytes has no CID: %v", len(data), err)
	}
	if !cr.once && (!cr.reuse || c.Type() != cid.Raw) {
		cr.buf = nil
	}
	return jobspec.WrapCID(c), data[n:], nil
}

// sized reads a length and as many bytes. io.EOF means that not even a length
// is left; an end anywhere else is E_CAR_FORMAT.
func (cr *reader) sized(limit uint64, what string) ([]byte, error) {
	n, err := varint.ReadUvarint(cr.r)
	switch {
	case errors.Is(err, io.EOF):
		return nil, io.EOF
	case errors.Is(err, varint.ErrOverflow), errors.Is(err, varint.ErrNotMinimal):
		return nil, jobspec.KindCARFormat.Errorf("length of CAR %s: %v", what, err)
	case err != nil:
		return nil, cut("length of CAR "+what, err)
	case n == 0:
		return nil, jobspec.KindCARFormat.Errorf("CAR %s of 0 bytes", what)
	case n > limit:
		return nil, jobspec.KindLimitBytes.Errorf("CAR %s of %d bytes, at most %d are allowed", what, n, limit)
	}
	if uint64(cap(cr.buf)) < n {
		cr.buf = make([]byte, n)
	}
	data := cr.buf[:n]
	if _, err := io.ReadFull(cr.r, data); err != nil {
		return nil, cut(fmt.Sprintf("CAR %s of %d bytes", what, n), err)
	}
	cr.at += int64(varint.UvarintSize(n)) + int64(n)
	return data, nil
}

// cut turns an early end into E_CAR_FORMAT, and leaves what went wrong below
// (a connection, a limit) as it is.
func cut(what string, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return jobspec.KindCARFormat.Errorf("%s is cut short", what)
	}
	return fmt.Errorf("read %s: %w", what, err)
}

// appendHeader encodes a CARv1 header with at most one root.
func appendHeader(b []byte, root jobspec.CID) ([]byte, error) {
	roots := []cbor.Tag{}
	if root.Defined() {
		roots = append(roots, cbor.Tag{Number: linkTag, Content: append([]byte{0}, root.Cid().Bytes()...)})
	}
	h, err := cbor.Marshal(struct {
		Roots   []cbor.Tag `cbor:"roots"`
		Version uint64     `cbor:"version"`
	}{roots, 1})
	if err != nil {
		return nil, fmt.Errorf("encode CAR header: %w", err)
	}
	return append(binary.AppendUvarint(b, uint64(len(h))), h...), nil
}

// appendSection encodes what comes before the bytes of a block.
func appendSection(b []byte, c jobspec.CID, size int) []byte {
	id := c.Cid().Bytes()
	return append(binary.AppendUvarint(b, uint64(len(id)+size)), id...)
}
