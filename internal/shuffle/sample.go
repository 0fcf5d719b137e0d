package shuffle

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
)

// Bounds of a sample.
const (
	sampleKeys = 40_000 // keys of one sample
	sampleKey  = 128    // bytes of a key that are kept: cuts need no more
)

const sampleMagic = "IPDCKEY1"

// Sample keeps keys of a stream, each with the same chance whatever its place,
// and the same ones each time. Its file is, little-endian: "IPDCKEY1", u64
// pairs, u32 keys, for each key u32 length and the key, CRC-32C of all that u32.
type Sample struct {
	pairs uint64
	heap  []sampled // the largest score on top
}

type sampled struct {
	score uint64
	key   []byte
}

// Add counts a pair and perhaps keeps its key.
func (s *Sample) Add(key []byte) {
	s.pairs++
	score := mix(s.pairs * 0x9e3779b97f4a7c15)
	switch {
	case len(s.heap) < sampleKeys:
		s.heap = append(s.heap, sampled{score, clipKey(key)})
		s.up(len(s.heap) - 1)
	case score < s.heap[0].score:
		s.heap[0] = sampled{score, clipKey(key)}
		s.down()
	}
}

func clipKey(key []byte) []byte { return bytes.Clone(key[:min(len(key), sampleKey)]) }

func (s *Sample) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if s.heap[parent].score >= s.heap[i].score {
			return
		}
		s.heap[parent], s.heap[i] = s.heap[i], s.heap[parent]
		i = parent
	}
}

func (s *Sample) down() {
	for i := 0; ; {
		child := 2*i + 1
		if child >= len(s.heap) {
			return
		}
		if child+1 < len(s.heap) && s.heap[child+1].score > s.heap[child].score {
			child++
		}
		if s.heap[i].score >= s.heap[child].score {
			return
		}
		s.heap[i], s.heap[child] = s.heap[child], s.heap[i]
		i = child
	}
}

// Pairs returns how many pairs were counted, Keys how many keys are kept.
func (s *Sample) Pairs() int64 { return int64(s.pairs) }

// Keys returns how many keys are kept.
func (s *Sample) Keys() int64 { return int64(len(s.heap)) }

// Encode returns the sample's file.
func (s *Sample) Encode() []byte {
	le := binary.LittleEndian
	b := le.AppendUint64([]byte(sampleMagic), s.pairs)
	b = le.AppendUint32(b, uint32(len(s.heap)))
	keys := slices.Clone(s.heap)
	slices.SortFunc(keys, func(x, y sampled) int { return bytes.Compare(x.key, y.key) })
	for _, k := range keys {
		b = le.AppendUint32(b, uint32(len(k.key)))
		b = append(b, k.key...)
	}
	return le.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// Cuts collects samples and cuts what they stand for into equal parts.
type Cuts struct {
	keys []weighted
}

type weighted struct {
	key    []byte
	weight uint64
}

// maxSample bounds a sample's file.
const maxSample = 8 + 8 + 4 + sampleKeys*(4+sampleKey) + 4

// Read takes a sample's file in. The name is for errors.
func (c *Cuts) Read(r io.Reader, name string) error {
	b, err := io.ReadAll(io.LimitReader(r, maxSample+1))
	if err != nil {
		return fmt.Errorf("read sample %s: %w", name, err)
	}
	le, wrong := binary.LittleEndian, fmt.Errorf("read sample %s: it is cut or damaged", name)
	const head = len(sampleMagic) + 12
	if len(b) < head+4 || len(b) > maxSample || string(b[:len(sampleMagic)]) != sampleMagic {
		return wrong
	}
	b, check := b[:len(b)-4], le.Uint32(b[len(b)-4:])
	if crc32.Checksum(b, castagnoli) != check {
		return wrong
	}
	pairs, n := le.Uint64(b[len(sampleMagic):]), le.Uint32(b[len(sampleMagic)+8:])
	b = b[head:]
	for range n {
		if len(b) < 4 || uint64(le.Uint32(b)) > uint64(len(b)-4) {
			return wrong
		}
		size := le.Uint32(b)
		// Pairs over keys in 256ths, rounded so that no key weighs nothing.
		c.keys = append(c.keys, weighted{b[4 : 4+size], min(pairs, 1<<40)<<8/uint64(n) + 1})
		b = b[4+size:]
	}
	if len(b) > 0 {
		return wrong
	}
	return nil
}

// Into returns the partitioner that cuts into n parts. The order in which
// samples were read does not matter.
func (c *Cuts) Into(n int) Partitioner {
	slices.SortFunc(c.keys, func(x, y weighted) int {
		if d := bytes.Compare(x.key, y.key); d != 0 {
			return d
		}
		return cmp.Compare(x.weight, y.weight)
	})
	var total, seen uint64
	for _, k := range c.keys {
		total += k.weight
	}
	cuts := make([][]byte, 0, n-1)
	for _, k := range c.keys {
		for len(cuts) < n-1 && seen >= total/uint64(n)*uint64(len(cuts)+1) {
			cuts = append(cuts, k.key)
		}
		seen += k.weight
	}
	for len(cuts) < n-1 { // too few keys: the last parts stay empty
		var last []byte
		if len(c.keys) > 0 {
			last = append(bytes.Clone(c.keys[len(c.keys)-1].key), 0)
		}
		cuts = append(cuts, last)
	}
	return Range(cuts)
}
