// Package cidset is a set of CIDs for walks over DAGs of millions of blocks.
//
//	seen := cidset.New()
//	if !seen.Add(c) {
//		return // was there before
//	}
//
// Invariant: a CID that was added is never lost, whatever its hash or codec.
package cidset

import (
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/ipdc/ipdc/ipfs/internal/link"
	"github.com/ipdc/ipdc/jobspec"
)

// Set is a set of blocks and of the codecs they were seen with: the same
// bytes have links under one codec and none under another. The keys of sha2-256
// blocks hold no pointers, at about 50 bytes each, so that millions of them
// cost the garbage collector nothing.
type Set struct {
	sha   map[[32]byte]codecs
	other map[string]codecs
}

type codecs uint8

// New returns an empty set.
func New() *Set {
	return &Set{sha: map[[32]byte]codecs{}, other: map[string]codecs{}}
}

// Add adds c and reports whether c was not in the set.
func (s *Set) Add(c jobspec.CID) bool {
	bit, hash := codecBit(c), c.Cid().Hash()
	if digest, ok := sha256Digest(hash); ok {
		old := s.sha[digest]
		s.sha[digest] = old | bit
		return old&bit == 0
	}
	old := s.other[string(hash)]
	s.other[string(hash)] = old | bit
	return old&bit == 0
}

// Has reports whether c is in the set, with its codec.
func (s *Set) Has(c jobspec.CID) bool {
	return s.codecs(c.Cid().Hash())&codecBit(c) != 0
}

// HasBytes reports whether a block of that multihash is in the set with any codec.
func (s *Set) HasBytes(hash multihash.Multihash) bool { return s.codecs(hash) != 0 }

func (s *Set) codecs(hash multihash.Multihash) codecs {
	if digest, ok := sha256Digest(hash); ok {
		return s.sha[digest]
	}
	return s.other[string(hash)]
}

// sha256Digest returns the digest of an untruncated sha2-256 multihash, whose
// code and length take one byte each.
func sha256Digest(hash multihash.Multihash) (digest [32]byte, ok bool) {
	if len(hash) != 34 || hash[0] != multihash.SHA2_256 || hash[1] != 32 {
		return digest, false
	}
	return [32]byte(hash[2:]), true
}

func codecBit(c jobspec.CID) codecs {
	switch {
	case link.None(c):
		return 1
	case c.Cid().Type() == cid.DagProtobuf:
		return 2
	case c.Cid().Type() == cid.DagCBOR:
		return 4
	case c.Cid().Type() == cid.DagJSON:
		return 8
	}
	return 16 // of a codec whose links cannot be found; no walk gets past it
}
