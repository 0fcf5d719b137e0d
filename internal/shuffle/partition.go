package shuffle

import (
	"bytes"
	"sort"
)

// MaxPartitions is the largest number of partitions.
const MaxPartitions = 10_000

// Partitioner says which partition a key belongs to.
type Partitioner struct {
	n    int
	cuts [][]byte // sorted; nil = by hash
}

// Hash returns the partitioner that spreads keys over n partitions by their
// hash.
func Hash(n int) Partitioner { return Partitioner{n: n} }

// Range returns the partitioner that gives partition i the keys from cuts[i-1]
// on and below cuts[i]. Cuts must be sorted; equal ones leave empty partitions.
func Range(cuts [][]byte) Partitioner {
	if cuts == nil {
		cuts = [][]byte{}
	}
	return Partitioner{n: len(cuts) + 1, cuts: cuts}
}

// N returns the number of partitions.
func (p Partitioner) N() int { return p.n }

// Of returns the partition of a key, from 0 on.
func (p Partitioner) Of(key []byte) int {
	switch {
	case p.n == 1:
		return 0
	case p.cuts == nil:
		return int(keyHash(key) % uint64(p.n))
	}
	return sort.Search(len(p.cuts), func(i int) bool { return bytes.Compare(p.cuts[i], key) > 0 })
}

// keyHash is FNV-1a 64 and the finalizer of MurmurHash3, which spreads what
// FNV leaves in few bits of short keys.
func keyHash(key []byte) uint64 {
	h := uint64(0xcbf29ce484222325)
	for _, b := range key {
		h = (h ^ uint64(b)) * 0x100000001b3
	}
	return mix(h)
}

func mix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
