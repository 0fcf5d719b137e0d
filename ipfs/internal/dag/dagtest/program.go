package dagtest

import (
	"fmt"
	"testing"

	"github.com/ipfs/go-cid"
)

// names that a program may give by number; others it spells out.
var names = []string{"a", "b", "c", "", ".", "..", "../up", "a/b", "/abs", "a\x00", "a\n", "\u202e", "link", "link/", "link/evil"}

// targets of symbolic links.
var targets = []string{"a", "../a", "../../../../tmp", "/etc/passwd", "link", "a/../..", ".", "", "b/link/../.."}

// Program builds a DAG from any bytes, for fuzz tests: each step of the
// program adds a node over earlier ones, honest or not. The last node is the
// root.
func Program(t testing.TB, code []byte) (*Builder, Node) {
	p := &program{b: New(t), code: code}
	p.nodes = []Node{p.b.Raw([]byte("leaf"))}
	for len(p.code) > 0 && len(p.nodes) < 256 {
		p.nodes = append(p.nodes, p.step())
	}
	return p.b, p.nodes[len(p.nodes)-1]
}

type program struct {
	b     *Builder
	code  []byte
	nodes []Node
}

func (p *program) byte() int {
	if len(p.code) == 0 {
		return 0
	}
	v := p.code[0]
	p.code = p.code[1:]
	return int(v)
}

func (p *program) bytes(n int) []byte {
	n = min(n, len(p.code))
	v := p.code[:n]
	p.code = p.code[n:]
	return v
}

func (p *program) pick(list []string) string {
	if i := p.byte(); i < len(list) {
		return list[i]
	}
	return string(p.bytes(p.byte() % 8))
}

func (p *program) step() Node {
	switch op := p.byte() % 8; op {
	case 0:
		return p.b.Raw(p.bytes(p.byte()))
	case 1:
		return p.b.File(p.links()...)
	case 2:
		return p.b.Dir(p.links()...)
	case 3:
		return p.b.Symlink(p.pick(targets))
	case 4:
		return p.shard()
	case 5:
		return p.b.Put(cid.DagProtobuf, p.bytes(p.byte()))
	case 6:
		links := p.links()
		return p.b.PB(UnixFS{Type: uint64(p.byte()), Filesize: uint64(p.byte()), Blocksizes: []uint64{uint64(p.byte())},
			Fanout: uint64(p.byte()), Data: p.bytes(p.byte() % 16)}, links...)
	default:
		return p.b.Put([]uint64{cid.DagCBOR, cid.DagJSON, 0x99}[p.byte()%3], p.bytes(p.byte()))
	}
}

func (p *program) links() []Node {
	links := make([]Node, p.byte()%8)
	for i := range links {
		links[i] = p.nodes[p.byte()%len(p.nodes)].As(p.pick(names))
	}
	return links
}

// shard puts each link into the slot that its name belongs to at the top of a
// HAMT, unless it is to stand for a shard below.
func (p *program) shard() Node {
	u := UnixFS{Type: TypeHAMT, HashType: 0x22, Fanout: 16, Data: make([]byte, 2)}
	var slots [16][]Node
	for _, l := range p.links() {
		slot := int(Hash(p.b.t, l.Name) >> 60)
		if p.byte()%4 == 0 {
			slot, l.Name = p.byte()%16, ""
		}
		slots[slot] = append(slots[slot], l.As(fmt.Sprintf("%X%s", slot, l.Name)))
	}
	var links []Node
	for slot, in := range slots {
		if len(in) > 0 {
			u.Data[1-slot/8] |= 1 << (slot % 8)
		}
		links = append(links, in...)
	}
	return p.b.PB(u, links...)
}

// Seeds are programs that reach each kind of node.
func Seeds() [][]byte {
	return [][]byte{
		{},
		{0, 3, 'a', 'b', 'c'},
		{1, 2, 0, 0, 0, 0, 2, 2, 1, 0, 0, 1},             // file in a directory
		{3, 1, 2, 1, 1, 12},                              // link that leads out
		{3, 3, 2, 1, 1, 0},                               // absolute link
		{2, 0, 3, 0, 2, 2, 1, 0, 2, 12},                  // directory and link
		{2, 1, 0, 6},                                     // traversal
		{2, 2, 0, 0, 0, 0},                               // a name twice
		{4, 2, 0, 0, 0, 1, 1, 1, 1},                      // HAMT
		{4, 1, 0, 0, 1, 4, 1, 1, 0, 0, 3},                // HAMT of two levels
		{5, 7, 0x0a, 5, 'h', 'e', 'l', 'l', 'o'},         // no UnixFS
		{6, 1, 0, 0, 2, 9, 9, 0, 0},                      // wrong sizes
		{7, 0, 1, 0xa0},                                  // dag-cbor
		{2, 1, 0, 0, 2, 1, 1, 0, 2, 1, 2, 0, 2, 1, 3, 0}, // nested
		{3, 8, 3, 0, 2, 2, 1, 0, 2, 12, 2, 1, 3, 1},      // chained links
	}
}
