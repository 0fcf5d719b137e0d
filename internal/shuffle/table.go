package shuffle

import (
	"encoding/binary"
	"math/bits"
)

// table finds the entry of a key. It is on while it pays: where most pairs are
// distinct it would only cost.
type table struct {
	on    bool
	hits  int // pairs that were counted into an entry
	n     int // slots in use
	slots []slot
}

type slot struct {
	hash  uint32 // 0 = free
	index uint32 // of the entry
}

const (
	firstSlots = 1 << 12
	trial      = 1 << 15 // entries after which the table has to have paid
)

// reset empties the table.
func (t *table) reset(on bool) {
	*t = table{on: on, slots: t.slots}
	if !on {
		t.slots = nil
		return
	}
	if len(t.slots) == 0 {
		t.slots = make([]slot, firstSlots)
	}
	clear(t.slots)
}

func (t *table) size() int64 { return int64(len(t.slots)) * 8 }

// home returns the first slot for a hash. Its lowest bit is always set.
func (t *table) home(hash uint32) int { return int(hash>>1) & (len(t.slots) - 1) }

// set points a slot that Collector.find returned to an entry.
func (t *table) set(i int, found bool, hash, index uint32) {
	t.slots[i] = slot{hash, index}
	if found {
		return
	}
	if t.n++; 2*t.n > len(t.slots) {
		t.grow()
	}
}

func (t *table) grow() {
	old := t.slots
	t.slots = make([]slot, 2*len(old))
	mask := len(t.slots) - 1
	for _, s := range old {
		if s.hash == 0 {
			continue
		}
		i := t.home(s.hash)
		for t.slots[i].hash != 0 {
			i = (i + 1) & mask
		}
		t.slots[i] = s
	}
}

// review switches the table off where fewer than one in three pairs were
// counted into an entry that was there.
func (t *table) review(entries int) {
	if entries%trial == 0 && 2*t.hits < entries {
		t.reset(false)
	}
}

// tableHash is a fast hash of a key whose first 8 bytes are prefix. It orders
// nothing and is never written. It is never 0.
func tableHash(prefix uint64, key []byte) uint32 {
	h := prefix ^ uint64(len(key))*0x9e3779b97f4a7c15
	for len(key) > 16 {
		h = fold(h, binary.LittleEndian.Uint64(key[8:]))
		key = key[8:]
	}
	if len(key) > 8 {
		h = fold(h, binary.LittleEndian.Uint64(key[len(key)-8:]))
	}
	return uint32(fold(h, 0xa0761d6478bd642f)>>32) | 1
}

func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a^0xe7037ed1a0b428db, b^0x8ebc6af09c88c6e3)
	return hi ^ lo
}

// loadPrefix returns the first 8 bytes of b, big-endian, zeros behind its end.
func loadPrefix(b []byte) uint64 {
	if len(b) >= 8 {
		return binary.BigEndian.Uint64(b)
	}
	var p uint64
	for i, x := range b {
		p |= uint64(x) << (56 - 8*i)
	}
	return p
}
