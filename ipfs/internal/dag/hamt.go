package dag

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/boxo/ipld/unixfs/hamt"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/multiformats/go-multihash"

	"github.com/ipdc/ipdc/jobspec"
)

// The profile's HAMT has 256 slots in a shard: each level takes 8 of the
// hash's 64 bits.
const (
	slotBits  = 8
	hamtWidth = 1 << slotBits
	maxShards = 64 / slotBits // on one way down
)

// HashName returns the hash by which a HAMT places a name, the first slot in
// its highest bits; see https://specs.ipfs.tech/unixfs/#dag-pb-hamtdirectory.
func HashName(name []byte) uint64 {
	h, err := multihash.Sum(name, multihash.MURMUR3X64_64, -1)
	if err != nil {
		panic("murmur3 is not compiled in: " + err.Error())
	}
	return binary.BigEndian.Uint64(h[len(h)-8:])
}

func (d *Directory) writeHAMT(ctx context.Context) (Link, error) {
	if width := Profile().HAMTShardWidth; width != hamtWidth {
		return Link{}, jobspec.KindInternal.Errorf("the profile's HAMT is %d wide, want %d", width, hamtWidth)
	}
	d.entries.sortByHash()
	return d.writeShard(ctx, d.entries.list, 0)
}

// writeShard writes the shard that holds part, whose hashes have their first
// bits in common, after the shards below it. A slot of one entry holds it; one
// of several holds a shard.
func (d *Directory) writeShard(ctx context.Context, part []entry, level int) (Link, error) {
	if level == maxShards {
		// Only names made to collide in all 64 bits of murmur3 get here.
		return Link{}, jobspec.KindHAMT.Errorf("build HAMT: entry %q: its hash is that of another name", d.entries.name(part[0]))
	}
	nd := &merkledag.ProtoNode{}
	if err := nd.SetCidBuilder(CidBuilder()); err != nil {
		return Link{}, fmt.Errorf("build HAMT: %w", err)
	}
	var field [hamtWidth / 8]byte // big-endian, its leading zeros cut off
	for len(part) > 0 {
		slot := slotOf(part[0], level)
		n := 1
		for n < len(part) && slotOf(part[n], level) == slot {
			n++
		}
		if err := d.writeSlot(ctx, nd, part[:n], level); err != nil {
			return Link{}, err
		}
		field[len(field)-1-slot/8] |= 1 << (slot % 8)
		part = part[n:]
	}
	data, err := unixfs.HAMTShardData(bytes.TrimLeft(field[:], "\x00"), hamtWidth, hamt.HashMurmur3)
	if err != nil {
		return Link{}, fmt.Errorf("build HAMT: %w", err)
	}
	nd.SetData(data)
	return put(ctx, d.s, nd)
}

// writeSlot links a shard to the entries of one slot.
func (d *Directory) writeSlot(ctx context.Context, nd *merkledag.ProtoNode, part []entry, level int) error {
	prefix := fmt.Sprintf("%02X", slotOf(part[0], level))
	if len(part) == 1 {
		return d.entries.addTo(nd, prefix, part[0])
	}
	below, err := d.writeShard(ctx, part, level+1)
	if err != nil {
		return err
	}
	return nd.AddRawLink(prefix, &ipld.Link{Size: below.Size, Cid: below.CID.Cid()})
}

func slotOf(e entry, level int) int {
	return int(e.hash >> (64 - slotBits*(level+1)) & (hamtWidth - 1))
}
