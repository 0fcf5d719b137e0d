package shuffle

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// ErrRun says that a file is no whole run of format 1.
var ErrRun = errors.New("not a whole run")

// maxPayload bounds a block. Only a record that is larger than blockSize by
// itself makes one that large.
const maxPayload = 1<<31 - 1

// readStep is how much room is made at once for a payload, so that a header
// that lies costs no more than the file has.
const readStep = 1 << 20

// Reader reads a run. Key, Value, Count and Part are those of the current
// record, and hold until the next call of Next.
type Reader struct {
	Key, Value []byte
	Count      uint64
	Part       int

	r     io.Reader
	name  string
	at    int64 // bytes read, for errors
	seen  uint64
	done  bool
	head  [headerSize]byte
	buf   []byte
	rest  []byte // of the block's payload
	left  uint32 // records in rest
	first bool   // the next record is the first of its block
}

// NewReader reads the beginning of a run of the given kind from r. The name is
// for errors.
func NewReader(r io.Reader, name string, kind Kind) (*Reader, error) {
	rd := &Reader{r: r, name: name}
	var begin [len(magic) + 1]byte
	n, err := io.ReadFull(r, begin[:])
	switch {
	case n == 0 && err == io.EOF:
		return nil, rd.wrong("it is empty")
	case err != nil:
		return nil, rd.cut(err)
	case string(begin[:len(magic)]) != magic:
		return nil, rd.wrong("it begins with %q, want %q", begin[:len(magic)], magic)
	case Kind(begin[len(magic)]) != kind:
		return nil, rd.wrong("it holds %v, want %v", Kind(begin[len(magic)]), kind)
	}
	rd.at = int64(n)
	if n, err = io.ReadFull(r, rd.head[:]); err != nil {
		return nil, rd.cut(err)
	}
	rd.at += int64(n)
	return rd, nil
}

// Next goes to the next record. It returns false at the end of the run.
func (r *Reader) Next() (bool, error) {
	for r.left == 0 {
		if r.done {
			return false, nil
		}
		if len(r.rest) > 0 {
			return false, r.wrong("a block has %d bytes behind its last record", len(r.rest))
		}
		if err := r.fill(); err != nil {
			return false, err
		}
	}
	return true, r.decode()
}

// decode takes the next record off the block.
func (r *Reader) decode() error {
	b := r.rest
	klen, n := uvarint(b)
	b = b[n:]
	vlen, m := uvarint(b)
	b = b[m:]
	if n == 0 || m == 0 || klen == 0 && r.first {
		return r.wrong("a record has a bad length")
	}
	if klen > 0 {
		klen--
		if klen > uint64(len(b)) {
			return r.wrong("a key of %d bytes stands in a block with %d bytes left", klen, len(b))
		}
		r.Key, b = b[:klen:klen], b[klen:]
	}
	if vlen > uint64(len(b)) {
		return r.wrong("a value of %d bytes stands in a block with %d bytes left", vlen, len(b))
	}
	r.Value, b = b[:vlen:vlen], b[vlen:]
	r.Count, n = uvarint(b)
	if n == 0 || r.Count == 0 {
		return r.wrong("a record has a bad count")
	}
	r.rest, r.first = b[n:], false
	r.left--
	return nil
}

// uvarint is binary.Uvarint with the fast case inlined, and 0 for what is none.
func uvarint(b []byte) (uint64, int) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), 1
	}
	v, n := binary.Uvarint(b)
	return v, max(n, 0)
}

// fill reads the block whose header is there, and with it the header of the
// next one.
func (r *Reader) fill() error {
	le, h := binary.LittleEndian, r.head[:]
	if crc32.Checksum(h[:16], castagnoli) != le.Uint32(h[16:]) {
		return r.wrong("a block's header has a wrong checksum")
	}
	part, records, size, sum := le.Uint32(h), le.Uint32(h[4:]), le.Uint32(h[8:]), le.Uint32(h[12:])
	switch {
	case records == 0 && size != 8, size > maxPayload, part >= MaxPartitions, int(part) < r.Part && records > 0:
		return r.wrong("a block of %d records and %d bytes for partition %d cannot be there", records, size, part)
	case records == 0:
		return r.end(sum)
	}
	b, err := r.read(int(size) + headerSize)
	if err != nil {
		return err
	}
	payload := b[:size:size]
	if crc32.Checksum(payload, castagnoli) != sum {
		return r.wrong("a block has a wrong checksum")
	}
	copy(h, b[size:])
	r.rest, r.left, r.first, r.Part = payload, records, true, int(part)
	r.seen += uint64(records)
	return nil
}

// end reads the end of the run.
func (r *Reader) end(sum uint32) error {
	b, err := r.read(8)
	if err != nil {
		return err
	}
	if crc32.Checksum(b, castagnoli) != sum {
		return r.wrong("its end has a wrong checksum")
	}
	if total := binary.LittleEndian.Uint64(b); total != r.seen {
		return r.wrong("it has %d records and should have %d", r.seen, total)
	}
	switch n, err := io.ReadFull(r.r, b[:1]); {
	case n > 0:
		return r.wrong("there is more behind its end")
	case err != io.EOF:
		return fmt.Errorf("read run %s: %w", r.name, err)
	}
	r.done = true
	return nil
}

// read reads n bytes into the reader's buffer.
func (r *Reader) read(n int) ([]byte, error) {
	for have := 0; have < n; {
		step := min(n-have, readStep)
		if cap(r.buf) < have+step {
			grown := make([]byte, max(have+step, min(n, 2*cap(r.buf))))
			copy(grown, r.buf[:have])
			r.buf = grown
		}
		r.buf = r.buf[:cap(r.buf)]
		m, err := io.ReadFull(r.r, r.buf[have:have+step])
		r.at += int64(m)
		if err != nil {
			return nil, r.cut(err)
		}
		have += step
	}
	return r.buf[:n], nil
}

func (r *Reader) cut(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return r.wrong("it is cut")
	}
	return fmt.Errorf("read run %s: %w", r.name, err)
}

func (r *Reader) wrong(format string, args ...any) error {
	return fmt.Errorf("read run %s: %w: %s (before byte %d)", r.name, ErrRun, fmt.Sprintf(format, args...), r.at)
}
