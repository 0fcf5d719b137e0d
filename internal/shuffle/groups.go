package shuffle

import (
	"encoding/binary"
	"io"
)

// WriteFrames writes all groups as blocks. A block is, in numbers of four
// bytes, little-endian: groups g, values v, bytes of all keys, bytes of all
// values, 1 if its first group is the last one of the block before (else 0), g
// key lengths, g counts of values, v value lengths; then the keys, then the
// values. A group that goes on in the next block has an empty key there.
func (m *Merger) WriteFrames(w io.Writer) error {
	out := newPump(w)
	g := groups{stats: &m.stats}
	var b groupBlock
	for {
		r, err := m.Next()
		if err != nil {
			return out.finish(err)
		}
		if r == nil {
			b.encode(out)
			return out.finish(nil)
		}
		begins := g.add(r.Key, r.Count)
		for left := r.Count; left > 0; {
			if begins || len(b.counts) == 0 {
				if begins {
					b.begin(r.Key)
				} else {
					b.begin(nil)
					b.continued = 1
				}
			}
			n := min(left, uint64(max(1, (outSize-b.size())/(len(r.Value)+4))))
			b.add(r.Value, int(n))
			left -= n
			if begins = false; b.size() >= outSize {
				b.encode(out)
				if err := out.flush(); err != nil {
					return out.finish(err)
				}
			}
		}
	}
}

// groupBlock is a block that is filled.
type groupBlock struct {
	continued            uint32
	klens, counts, vlens []uint32
	keys, values         []byte
}

func (b *groupBlock) size() int {
	return 4*(5+2*len(b.klens)+len(b.vlens)) + len(b.keys) + len(b.values)
}

// begin begins a group.
func (b *groupBlock) begin(key []byte) {
	b.klens, b.counts = append(b.klens, uint32(len(key))), append(b.counts, 0)
	b.keys = append(b.keys, key...)
}

// add adds a value n times to the last group.
func (b *groupBlock) add(value []byte, n int) {
	b.counts[len(b.counts)-1] += uint32(n)
	for range n {
		b.vlens = append(b.vlens, uint32(len(value)))
		b.values = append(b.values, value...)
	}
}

// encode appends the block to what is written, and empties it.
func (b *groupBlock) encode(out *pump) {
	if len(b.counts) == 0 {
		return
	}
	le, o := binary.LittleEndian, out.buf
	for _, n := range []uint32{uint32(len(b.klens)), uint32(len(b.vlens)), uint32(len(b.keys)), uint32(len(b.values)), b.continued} {
		o = le.AppendUint32(o, n)
	}
	for _, list := range [][]uint32{b.klens, b.counts, b.vlens} {
		for _, n := range list {
			o = le.AppendUint32(o, n)
		}
	}
	out.buf = append(append(o, b.keys...), b.values...)
	*b = groupBlock{klens: b.klens[:0], counts: b.counts[:0], vlens: b.vlens[:0], keys: b.keys[:0], values: b.values[:0]}
}
