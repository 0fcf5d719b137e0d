package dag

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/boxo/ipld/unixfs/hamt"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/jobspec"
)

// Link points at a node from a directory.
type Link struct {
	CID jobspec.CID
	// Size is the dag-pb Tsize: the bytes of the node's own block plus the
	// Sizes of its links. It is part of the directory's CID, and nothing else
	// may rely on it.
	Size uint64
}

// Directory collects the entries of one UnixFS directory. boxo's own directory
// looks every name up in a list as it is added; this one sorts once, so that
// 100,000 entries cost no more than their encoding.
type Directory struct {
	s     ipfs.Session
	links []*ipld.Link
}

// NewDirectory returns an empty directory that is written to s.
func NewDirectory(s ipfs.Session) *Directory { return &Directory{s: s} }

// Add adds an entry. The name has passed tree.CheckName.
func (d *Directory) Add(name string, l Link) {
	d.links = append(d.links, &ipld.Link{Name: name, Size: l.Size, Cid: l.CID.Cid()})
}

// Len returns the number of entries.
func (d *Directory) Len() int { return len(d.links) }

// Write stores the directory's blocks and returns the link to its root: a
// plain node up to the profile's block size, a HAMT above it. Two entries of
// one name are an error of kind E_DUP_NAME.
func (d *Directory) Write(ctx context.Context) (Link, error) {
	slices.SortFunc(d.links, func(a, b *ipld.Link) int { return cmp.Compare(a.Name, b.Name) })
	for i := 1; i < len(d.links); i++ {
		if d.links[i].Name == d.links[i-1].Name {
			return Link{}, jobspec.KindDupName.Errorf("directory has two entries named %q", d.links[i].Name)
		}
	}
	if d.atLeast() > Profile().HAMTShardingSize {
		return d.writeHAMT(ctx)
	}
	nd, err := d.plain()
	if err != nil {
		return Link{}, err
	}
	if len(nd.RawData()) > Profile().HAMTShardingSize {
		return d.writeHAMT(ctx)
	}
	return put(ctx, d.s, nd)
}

// atLeast is a size that the plain block is above: a million entries need not
// be encoded to see that they are too many.
func (d *Directory) atLeast() (n int) {
	for _, l := range d.links {
		n += len(l.Name) + l.Cid.ByteLen()
	}
	return n
}

func (d *Directory) plain() (*merkledag.ProtoNode, error) {
	nd := unixfs.EmptyDirNode()
	if err := nd.SetCidBuilder(CidBuilder()); err != nil {
		return nil, fmt.Errorf("build directory: %w", err)
	}
	for _, l := range d.links {
		if err := nd.AddRawLink(l.Name, l); err != nil {
			return nil, fmt.Errorf("build directory: entry %q: %w", l.Name, err)
		}
	}
	return nd, nil
}

func (d *Directory) writeHAMT(ctx context.Context) (Link, error) {
	shard, err := hamt.NewShard(Service(d.s), Profile().HAMTShardWidth)
	if err != nil {
		return Link{}, fmt.Errorf("build HAMT: %w", err)
	}
	shard.SetCidBuilder(CidBuilder())
	for _, l := range d.links {
		if err := shard.SetLink(ctx, l.Name, l); err != nil {
			// Only names made to collide in all 64 bits of murmur3 get here.
			return Link{}, jobspec.KindHAMT.Errorf("build HAMT: entry %q: %v", l.Name, err)
		}
	}
	nd, err := shard.Node() // stores every shard
	if err != nil {
		return Link{}, fmt.Errorf("write HAMT: %w", err)
	}
	return linkTo(nd)
}

func put(ctx context.Context, s ipfs.Session, nd ipld.Node) (Link, error) {
	if err := Service(s).Add(ctx, nd); err != nil {
		return Link{}, err
	}
	return linkTo(nd)
}

func linkTo(nd ipld.Node) (Link, error) {
	size, err := nd.Size()
	if err != nil {
		return Link{}, fmt.Errorf("size of node %s: %w", nd.Cid(), err)
	}
	return Link{CID: jobspec.WrapCID(nd.Cid()), Size: size}, nil
}

// LinkTo returns the link to the node at c. It reads that one block.
func LinkTo(ctx context.Context, g ipfs.Getter, c jobspec.CID) (Link, error) {
	data, err := g.Get(ctx, c)
	if err != nil {
		return Link{}, fmt.Errorf("get node %s: %w", c, err)
	}
	nd, err := decode(c.Cid(), data)
	if err != nil {
		return Link{}, err
	}
	return linkTo(nd)
}
