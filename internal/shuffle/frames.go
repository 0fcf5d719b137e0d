package shuffle

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// ErrFrames says that what a harness wrote is no sequence of blocks of pairs.
var ErrFrames = errors.New("not blocks of pairs")

// ReadFrames takes in all blocks of r. A block is, in numbers of four bytes,
// little-endian: pairs n, bytes of all keys, bytes of all values, n key lengths,
// n value lengths; then the keys, then the values.
func (c *Collector) ReadFrames(r io.Reader) error {
	return EachPair(r, c.MaxRecord(), c.Add)
}

// EachPair calls do for all pairs of r, which hold until it returns. A block of
// more than limit bytes is refused. See [Collector.ReadFrames].
func EachPair(r io.Reader, limit int64, do func(key, value []byte) error) error {
	d := frames{r: r, limit: limit}
	for {
		b, err := d.next()
		if err != nil || b == nil {
			return err
		}
		for i := range b.n {
			key, value := b.pair(i)
			if err := do(key, value); err != nil {
				return err
			}
		}
	}
}

const printsHint = " (does the program print to stdout itself?)"

// frames reads blocks of pairs.
type frames struct {
	r     io.Reader
	limit int64 // bytes of a block
	at    int64 // where the block begins
	buf   []byte
	block pairs
}

// pairs is a block that was found whole.
type pairs struct {
	n            int
	klens, vlens []byte // of four bytes each
	keys, values []byte // what was not taken yet
}

const framesHeader = 12

// next returns the next block, or nil at the end.
func (d *frames) next() (*pairs, error) {
	var h [framesHeader]byte
	switch n, err := io.ReadFull(d.r, h[:]); {
	case n == 0 && err == io.EOF:
		return nil, nil
	case err == io.ErrUnexpectedEOF:
		return nil, d.cut("the header is cut after %d bytes", n)
	case err != nil:
		return nil, err
	}
	le := binary.LittleEndian
	n, keys, values := int64(le.Uint32(h[:])), int64(le.Uint32(h[4:])), int64(le.Uint32(h[8:]))
	size := 8*n + keys + values
	if size > d.limit {
		return nil, fmt.Errorf("block of pairs at byte %d has %d pairs and %d bytes: with this task's memory a block may have %d; write smaller blocks, or give the task more memory%s", d.at, n, size, d.limit, printsHint)
	}
	b, err := d.read(int(size))
	if err != nil {
		return nil, err
	}
	d.block = pairs{int(n), b[:4*n], b[4*n : 8*n], b[8*n : 8*n+keys], b[8*n+keys:]}
	if k, v := sum(d.block.klens), sum(d.block.vlens); k != keys || v != values {
		return nil, d.wrong("its keys have %d bytes and its values %d, its header says %d and %d", k, v, keys, values)
	}
	d.at += framesHeader + size
	return &d.block, nil
}

func (d *frames) read(n int) ([]byte, error) {
	d.buf = d.buf[:0]
	for len(d.buf) < n {
		step := min(n-len(d.buf), readStep)
		have := len(d.buf)
		if cap(d.buf) < have+step {
			d.buf = append(d.buf, make([]byte, step)...)
		}
		d.buf = d.buf[:have+step]
		m, err := io.ReadFull(d.r, d.buf[have:])
		switch {
		case err == io.EOF || err == io.ErrUnexpectedEOF:
			return nil, d.cut("%d of its %d bytes are there", have+m, n)
		case err != nil:
			return nil, err
		}
	}
	return d.buf, nil
}

// cut marks what may be because the program ended, in whatever way.
func (d *frames) cut(format string, args ...any) error {
	return fmt.Errorf("%w: %w", d.wrong(format, args...), io.ErrUnexpectedEOF)
}

func (d *frames) wrong(format string, args ...any) error {
	return fmt.Errorf("%w: the block at byte %d: %s%s", ErrFrames, d.at, fmt.Sprintf(format, args...), printsHint)
}

// pair takes the next pair, the i-th, off the block.
func (b *pairs) pair(i int) (key, value []byte) {
	le := binary.LittleEndian
	k, v := le.Uint32(b.klens[4*i:]), le.Uint32(b.vlens[4*i:])
	key, b.keys = b.keys[:k], b.keys[k:]
	value, b.values = b.values[:v], b.values[v:]
	return key, value
}

// sum adds numbers of four bytes.
func sum(b []byte) (n int64) {
	for ; len(b) >= 4; b = b[4:] {
		n += int64(binary.LittleEndian.Uint32(b))
	}
	return n
}
