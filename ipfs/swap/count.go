package swap

import (
	"maps"
	"sync"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipdc/ipdc/identity"
)

// Bytes counts what blocks held: the content of files, and what leads to it.
type Bytes struct {
	Content     int64 // raw leaves, data within file nodes, and codecs other than UnixFS
	Files       int64 // file nodes that link to leaves
	Directories int64 // directories, their shards, symbolic links
	Blocks      int64 // number of all of these
}

// Traffic is what was exchanged with one member, or with all.
type Traffic struct{ In, Out Bytes }

// maxCounted bounds the members that are counted one by one.
const maxCounted = 4096

type counter struct {
	mu    sync.Mutex
	total Traffic
	peers map[identity.ID]Traffic
}

// Traffic returns the bytes of blocks that this node got and sent since it
// joined, in all and by member. Blocks sent twice count twice; what bitswap
// itself says around them does not.
func (s *Swap) Traffic() (total Traffic, byMember map[identity.ID]Traffic) {
	s.counter.mu.Lock()
	defer s.counter.mu.Unlock()
	return s.counter.total, maps.Clone(s.counter.peers)
}

func (c *counter) add(p peer.ID, list []blocks.Block, direction func(*Traffic) *Bytes) {
	if len(list) == 0 {
		return
	}
	var sum Bytes
	for _, b := range list {
		sum.count(b)
	}
	id := identity.ID(p.String())
	c.mu.Lock()
	defer c.mu.Unlock()
	direction(&c.total).plus(sum)
	if c.peers == nil {
		c.peers = map[identity.ID]Traffic{}
	}
	one, known := c.peers[id]
	if !known && len(c.peers) >= maxCounted {
		return
	}
	direction(&one).plus(sum)
	c.peers[id] = one
}

func (b *Bytes) plus(o Bytes) {
	b.Content += o.Content
	b.Files += o.Files
	b.Directories += o.Directories
	b.Blocks += o.Blocks
}

// count adds one block by what it is. A block that cannot be read as what its
// codec says is content: nothing is to be taken for less than it is.
func (b *Bytes) count(blk blocks.Block) {
	b.Blocks++
	size := int64(len(blk.RawData()))
	if blk.Cid().Prefix().Codec != cid.DagProtobuf {
		b.Content += size
		return
	}
	nd, err := merkledag.DecodeProtobuf(blk.RawData())
	if err != nil {
		b.Content += size
		return
	}
	fs, err := unixfs.FSNodeFromBytes(nd.Data())
	switch {
	case err != nil:
		b.Content += size
	case fs.IsDir() || fs.Type() == unixfs.TSymlink:
		b.Directories += size
	default:
		inline := int64(len(fs.Data()))
		b.Content += inline
		b.Files += size - inline
	}
}

// tracer sees every message of bitswap.
type tracer struct{ s *Swap }

// MessageReceived implements tracer.Tracer.
func (t tracer) MessageReceived(p peer.ID, m bsmsg.BitSwapMessage) {
	t.s.counter.add(p, m.Blocks(), func(t *Traffic) *Bytes { return &t.In })
	if len(m.Blocks()) > 0 {
		t.s.signs.blockFrom(p)
	}
	for _, c := range m.DontHaves() {
		t.s.asks.answer(c, p)
	}
	for _, c := range m.Haves() {
		t.s.asks.yes(c, p)
	}
}

// MessageSent implements tracer.Tracer.
func (t tracer) MessageSent(p peer.ID, m bsmsg.BitSwapMessage) {
	t.s.counter.add(p, m.Blocks(), func(t *Traffic) *Bytes { return &t.Out })
}
