package dag

import (
	"bytes"
	"context"
	"fmt"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
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
// looks every name up in a list as it is added, and its HAMT holds a tree of
// all shards in memory; this one sorts once and writes shards from the bottom
// up, so that an entry costs little more than its name and CID.
type Directory struct {
	s       ipfs.Session
	entries entries
}

// NewDirectory returns an empty directory that is written to s.
func NewDirectory(s ipfs.Session) *Directory { return &Directory{s: s} }

// Add adds an entry. The name has passed tree.CheckName.
func (d *Directory) Add(name string, l Link) { d.entries.add(name, l) }

// Len returns the number of entries.
func (d *Directory) Len() int { return len(d.entries.list) }

// Write stores the directory's blocks and returns the link to its root: a
// plain node up to the profile's block size, a HAMT above it. Two entries of
// one name are an error of kind E_DUP_NAME.
func (d *Directory) Write(ctx context.Context) (Link, error) {
	d.entries.sortByName()
	list := d.entries.list
	for i := 1; i < len(list); i++ {
		if name := d.entries.name(list[i]); bytes.Equal(name, d.entries.name(list[i-1])) {
			return Link{}, jobspec.KindDupName.Errorf("directory has two entries named %q", name)
		}
	}
	// A million entries need not be encoded to see that they are too many.
	if d.entries.bytes > Profile().HAMTShardingSize {
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

func (d *Directory) plain() (*merkledag.ProtoNode, error) {
	nd := unixfs.EmptyDirNode()
	if err := nd.SetCidBuilder(CidBuilder()); err != nil {
		return nil, fmt.Errorf("build directory: %w", err)
	}
	for _, e := range d.entries.list {
		if err := d.entries.addTo(nd, "", e); err != nil {
			return nil, err
		}
	}
	return nd, nil
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
