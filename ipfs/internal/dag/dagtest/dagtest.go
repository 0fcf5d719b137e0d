// Package dagtest builds DAGs for tests, hostile ones above all: it encodes
// dag-pb and UnixFS by hand, so that nothing is sorted, checked or completed.
//
//	b := dagtest.New(t)
//	leaf := b.Raw([]byte("evil"))
//	root := b.Dir(leaf.As("../../etc/cron.d/x"))
//	err := tree.Walk(ctx, b, root.CID, ipfs.Budget{}, visit)
//
// Invariants: every block is stored under its true CID.
package dagtest

import (
	"context"
	"encoding/binary"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/ipdc/ipdc/ipfs/internal/dag"
	"github.com/ipdc/ipdc/ipfs/ipfstest"
	"github.com/ipdc/ipdc/jobspec"
)

// UnixFS types.
const (
	TypeRaw = iota
	TypeDirectory
	TypeFile
	TypeMetadata
	TypeSymlink
	TypeHAMT
)

// Builder stores blocks in memory.
type Builder struct {
	*ipfstest.Memory
	t testing.TB
}

// New returns an empty builder.
func New(t testing.TB) *Builder { return &Builder{Memory: ipfstest.NewMemory(), t: t} }

// Node is a stored node, and a link to it.
type Node struct {
	CID   jobspec.CID
	Name  string
	Size  uint64 // of a file's content
	Tsize uint64
}

// As returns n under a name.
func (n Node) As(name string) Node { n.Name = name; return n }

// UnixFS is the Data of a dag-pb node. Zero fields are left out.
type UnixFS struct {
	Type       uint64
	Data       []byte
	Filesize   uint64
	Blocksizes []uint64
	HashType   uint64
	Fanout     uint64
	Mode       uint64
}

// Put stores any bytes under the given codec.
func (b *Builder) Put(codec uint64, data []byte) Node {
	b.t.Helper()
	h, err := multihash.Sum(data, multihash.SHA2_256, -1)
	if err != nil {
		b.t.Fatal(err)
	}
	c := jobspec.WrapCID(cid.NewCidV1(codec, h))
	if err := b.Memory.Put(context.Background(), c, data); err != nil {
		b.t.Fatal(err)
	}
	return Node{CID: c, Size: uint64(len(data)), Tsize: uint64(len(data))}
}

// Raw stores a raw leaf.
func (b *Builder) Raw(data []byte) Node { return b.Put(cid.Raw, data) }

// PB stores a dag-pb node of the given UnixFS data and links.
func (b *Builder) PB(u UnixFS, links ...Node) Node {
	b.t.Helper()
	var block []byte
	tsize := uint64(0)
	for _, l := range links {
		block = appendBytes(block, 2, encodeLink(l))
		tsize += l.Tsize
	}
	block = appendBytes(block, 1, u.encode())
	n := b.Put(cid.DagProtobuf, block)
	n.Tsize += tsize
	n.Size = uint64(len(u.Data))
	for _, s := range u.Blocksizes {
		n.Size += s
	}
	return n
}

// File stores a file node with true sizes over the given parts.
func (b *Builder) File(parts ...Node) Node {
	u := UnixFS{Type: TypeFile}
	for i, p := range parts {
		u.Blocksizes = append(u.Blocksizes, p.Size)
		u.Filesize += p.Size
		parts[i].Name = ""
	}
	return b.PB(u, parts...)
}

// Dir stores a plain directory with the given entries in the given order.
func (b *Builder) Dir(entries ...Node) Node {
	return b.PB(UnixFS{Type: TypeDirectory}, entries...)
}

// Symlink stores a symbolic link.
func (b *Builder) Symlink(target string) Node {
	return b.PB(UnixFS{Type: TypeSymlink, Data: []byte(target)})
}

// Honest stores a directory as the project's own writers do, a HAMT when it
// has very many entries.
func (b *Builder) Honest(entries ...Node) Node {
	b.t.Helper()
	d := dag.NewDirectory(b.Memory)
	for _, e := range entries {
		d.Add(e.Name, dag.Link{CID: e.CID, Size: e.Tsize})
	}
	l, err := d.Write(context.Background())
	if err != nil {
		b.t.Fatal(err)
	}
	return Node{CID: l.CID, Tsize: l.Size}
}

// Hash returns the hash that places a name in a HAMT.
func Hash(t testing.TB, name string) uint64 {
	t.Helper()
	h, err := multihash.Sum([]byte(name), multihash.MURMUR3X64_64, -1)
	if err != nil {
		t.Fatal(err)
	}
	return binary.BigEndian.Uint64(h[len(h)-8:])
}

func (u UnixFS) encode() []byte {
	out := appendVarint(nil, 1, u.Type)
	if u.Data != nil {
		out = appendBytes(out, 2, u.Data)
	}
	if u.Filesize != 0 || u.Type == TypeFile {
		out = appendVarint(out, 3, u.Filesize)
	}
	for _, s := range u.Blocksizes {
		out = appendVarint(out, 4, s)
	}
	for i, v := range []uint64{u.HashType, u.Fanout, u.Mode} {
		if v != 0 {
			out = appendVarint(out, uint64(5+i), v)
		}
	}
	return out
}

func encodeLink(l Node) []byte {
	out := appendBytes(nil, 1, l.CID.Cid().Bytes())
	out = appendBytes(out, 2, []byte(l.Name))
	return appendVarint(out, 3, l.Tsize)
}

func appendVarint(out []byte, field, v uint64) []byte {
	return binary.AppendUvarint(append(out, byte(field<<3)), v)
}

func appendBytes(out []byte, field uint64, v []byte) []byte {
	out = binary.AppendUvarint(append(out, byte(field<<3|2)), uint64(len(v)))
	return append(out, v...)
}
