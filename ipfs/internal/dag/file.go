package dag

import (
	"context"
	"fmt"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/jobspec"
)

// File collects the parts of one UnixFS file, which are files themselves: raw
// leaves as a rule. It costs O(parts) and reads none of them.
type File struct {
	s     ipfs.Session
	parts []part
}

// part is a link and the bytes of content behind it.
type part struct {
	Link
	content uint64
}

// NewFile returns an empty file that is written to s.
func NewFile(s ipfs.Session) *File { return &File{s: s} }

// Add appends content bytes that l's node holds. What it declares wrongly is
// found by whoever reads the file.
func (f *File) Add(l Link, content int64) {
	f.parts = append(f.parts, part{l, uint64(content)})
}

// Write stores the nodes above the parts and returns the link to the root and
// the size of the content. The tree is balanced and as wide as the profile
// says, so that leaves that an importer cut have the CID that it gives them.
// A file of one part is that part; one without any is the empty leaf.
func (f *File) Write(ctx context.Context) (Link, int64, error) {
	level := f.parts
	if len(level) == 0 {
		nd := merkledag.NewRawNode(nil)
		l, err := put(ctx, f.s, nd)
		return l, 0, err
	}
	for len(level) > 1 {
		var above []part
		for len(level) > 0 {
			n := min(len(level), Profile().FileDAGWidth)
			p, err := f.node(ctx, level[:n])
			if err != nil {
				return Link{}, 0, err
			}
			above = append(above, p)
			level = level[n:]
		}
		level = above
	}
	return level[0].Link, int64(level[0].content), nil
}

// node stores one inner node.
func (f *File) node(ctx context.Context, parts []part) (part, error) {
	fs := unixfs.NewFSNode(unixfs.TFile)
	nd := new(merkledag.ProtoNode)
	if err := nd.SetCidBuilder(CidBuilder()); err != nil {
		return part{}, fmt.Errorf("build file: %w", err)
	}
	for _, p := range parts {
		fs.AddBlockSize(p.content)
		if err := nd.AddRawLink("", &ipld.Link{Size: p.Size, Cid: p.CID.Cid()}); err != nil {
			return part{}, fmt.Errorf("build file: %w", err)
		}
	}
	data, err := fs.GetBytes()
	if err != nil {
		return part{}, fmt.Errorf("build file: %w", err)
	}
	nd.SetData(data)
	l, err := put(ctx, f.s, nd)
	return part{l, fs.FileSize()}, err
}

// Leaf stores data, at most MaxBlock bytes, as a raw leaf.
func Leaf(ctx context.Context, s ipfs.Session, data []byte) (Link, error) {
	c, err := LeafCID(data)
	if err != nil {
		return Link{}, err
	}
	return Link{CID: c, Size: uint64(len(data))}, s.Put(ctx, c, data)
}

// LeafCID returns the CID of a raw leaf.
func LeafCID(data []byte) (jobspec.CID, error) {
	c, err := CidBuilder().WithCodec(cid.Raw).Sum(data)
	if err != nil {
		return jobspec.CID{}, fmt.Errorf("hash %d bytes: %w", len(data), err)
	}
	return jobspec.WrapCID(c), nil
}
