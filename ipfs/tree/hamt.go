package tree

import (
	"context"
	"fmt"
	"math/bits"
	"strconv"

	"github.com/ipfs/boxo/ipld/unixfs/hamt"
	"github.com/ipfs/boxo/ipld/unixfs/pb"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/internal/dag"
	"github.com/ipdc/ipdc/jobspec"
)

// maxFanout is the widest HAMT that is read.
const maxFanout = ipfs.MaxFanout

// shard is what makes a directory block a part of a HAMT. Slot i of a shard at
// depth d holds the names whose hash continues with i; see
// https://specs.ipfs.tech/unixfs/#dag-pb-hamtdirectory.
type shard struct {
	fanout int
	width  int   // hex digits of a slot in link names
	slots  []int // of each link, rising
}

// position is where a shard stands in its HAMT: the hash bits on the way down.
type position struct {
	prefix uint64
	used   int // bits of prefix
}

func asShard(c jobspec.CID, n node, fs *pb.Data) (node, error) {
	fanout := fs.GetFanout()
	if fanout < 8 || fanout > maxFanout || bits.OnesCount64(fanout) != 1 {
		return node{}, jobspec.KindHAMT.Errorf("shard %s has fanout %d, want a power of two from 8 to %d", c, fanout, maxFanout)
	}
	if fs.GetHashType() != hamt.HashMurmur3 {
		return node{}, jobspec.KindHAMT.Errorf("shard %s has hash type 0x%x, want 0x%x", c, fs.GetHashType(), hamt.HashMurmur3)
	}
	if len(n.data) > int(fanout)/8 || len(n.sizes) != 0 {
		return node{}, jobspec.KindHAMT.Errorf("shard %s has a bitfield of %d bytes and %d block sizes for fanout %d", c, len(n.data), len(n.sizes), fanout)
	}
	n.kind = Dir
	n.shard = &shard{fanout: int(fanout), width: len(strconv.FormatUint(fanout-1, 16)), slots: setBits(n.data)}
	n.data = nil
	return n, n.shard.check(c, n.links)
}

// setBits returns the set bits of a big-endian bitfield whose leading zeros
// may be cut off.
func setBits(field []byte) []int {
	var out []int
	for i := len(field) - 1; i >= 0; i-- {
		for b := field[i]; b != 0; b &= b - 1 {
			out = append(out, (len(field)-1-i)*8+bits.TrailingZeros8(b))
		}
	}
	return out
}

// check compares the links with the bitfield and checks the names behind the
// slot prefixes.
func (s *shard) check(c jobspec.CID, links []Link) error {
	if len(s.slots) != len(links) {
		return jobspec.KindHAMT.Errorf("shard %s has %d bits set and %d links", c, len(s.slots), len(links))
	}
	for i, l := range links {
		if len(l.Name) < s.width || l.Name[:s.width] != fmt.Sprintf("%0*X", s.width, s.slots[i]) {
			return jobspec.KindHAMT.Errorf("shard %s: link %d is named %.40q, want slot %0*X", c, i, l.Name, s.width, s.slots[i])
		}
		if len(l.Name) == s.width {
			continue // a shard below
		}
		if err := CheckName(l.Name[s.width:]); err != nil {
			return err
		}
	}
	return nil
}

// values returns the number of entries among the links.
func (s *shard) values(links []Link) (n int) {
	for _, l := range links {
		if len(l.Name) > s.width {
			n++
		}
	}
	return n
}

// lg2 is the number of hash bits that one level takes.
func (s *shard) lg2() int { return bits.TrailingZeros(uint(s.fanout)) }

// below returns the position under the given slot. The error is of kind E_HAMT
// when no hash bits are left for another level.
func (s *shard) below(p position, slot int) (position, error) {
	p = position{prefix: p.prefix<<s.lg2() | uint64(slot), used: p.used + s.lg2()}
	if p.used > 64 {
		return p, jobspec.KindHAMT.Errorf("HAMT is deeper than its 64 hash bits")
	}
	return p, nil
}

// holds reports whether name's hash leads to p.
func (p position) holds(name string) bool {
	return p.used == 0 || hashName(name)>>(64-p.used) == p.prefix
}

// slot returns the slot of name in a shard at position p, or false when no
// hash bits are left.
func (s *shard) slot(p position, name string) (int, bool) {
	shift := 64 - p.used - s.lg2()
	if shift < 0 {
		return 0, false
	}
	return int(hashName(name) >> shift & uint64(s.fanout-1)), true
}

func hashName(name string) uint64 { return dag.HashName([]byte(name)) }

// lookup goes straight down to the shard that name belongs to. It returns false
// when the directory has no such entry.
func (m *meter) lookup(ctx context.Context, n node, name string) (Link, bool, error) {
	var p position
	for depth := 0; n.shard != nil; depth++ {
		if depth > m.budget.DAGDepth {
			return Link{}, false, jobspec.KindDepth.Errorf("HAMT has over %d levels", m.budget.DAGDepth)
		}
		slot, ok := n.shard.slot(p, name)
		if !ok {
			return Link{}, false, nil
		}
		l, ok := n.find(slot)
		if !ok {
			return Link{}, false, nil
		}
		if len(l.Name) > n.shard.width {
			l.Name = l.Name[n.shard.width:]
			return l, l.Name == name, nil
		}
		var err error
		if p, err = n.shard.below(p, slot); err != nil {
			return Link{}, false, err
		}
		if err = m.addBlocks(1); err != nil {
			return Link{}, false, err
		}
		if n, err = m.subShard(ctx, n.shard, l.CID); err != nil {
			return Link{}, false, err
		}
	}
	for _, l := range n.links {
		if l.Name == name {
			return l, true, nil
		}
	}
	return Link{}, false, nil
}

// find returns the link in the given slot of a shard.
func (n node) find(slot int) (Link, bool) {
	for i, s := range n.shard.slots {
		if s == slot {
			return n.links[i], true
		}
	}
	return Link{}, false
}

// subShard reads a shard below parent, which must be alike. It is never empty,
// as no writer leaves one: so each way down ends at a name that must stand just
// there, and a shard that is linked to from everywhere is found out at once.
func (m *meter) subShard(ctx context.Context, parent *shard, c jobspec.CID) (node, error) {
	n, err := m.node(ctx, c)
	if err != nil {
		return node{}, err
	}
	if n.shard == nil || n.shard.fanout != parent.fanout {
		return node{}, jobspec.KindHAMT.Errorf("%s stands below a shard of fanout %d and is none", c, parent.fanout)
	}
	if len(n.links) == 0 {
		return node{}, jobspec.KindHAMT.Errorf("shard %s stands below another and is empty", c)
	}
	return n, nil
}
