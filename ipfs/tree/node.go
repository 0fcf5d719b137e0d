package tree

import (
	"math"
	"strings"

	"github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/boxo/ipld/unixfs/pb"
	"github.com/ipfs/go-cid"
	dagpb "github.com/ipld/go-codec-dagpb"
	cidlink "github.com/ipld/go-ipld-prime/linking/cid"
	"github.com/multiformats/go-multicodec"

	"github.com/ipdc/ipdc/jobspec"
)

// maxTarget is the longest target of a symbolic link, as Linux has it.
const maxTarget = 4095

// Kind is what an entry is.
type Kind string

// The kinds.
const (
	File    Kind = "file"
	Dir     Kind = "dir"
	Symlink Kind = "symlink"
)

// Link points from a directory at an entry.
type Link struct {
	Name string
	CID  jobspec.CID
	// Tsize is what the directory declares about the size of the DAG below
	// the link. It may be any lie; merge carries it over, nobody relies on it.
	Tsize uint64
}

// node is one decoded and checked block.
type node struct {
	kind  Kind
	data  []byte   // of a file: what stands in this very block; of a symlink: its target
	links []Link   // of a file without names; of a shard with their slot prefix
	sizes []uint64 // of a file: content bytes below each link
	size  int64    // of a file: len(data) plus all sizes
	shard *shard   // set when a directory is a HAMT shard

	stored uint64 // bytes of the block itself
}

// decode checks everything about a block that can be known from it alone. The
// error is of kind E_CODEC, E_UNIXFS, E_HAMT, E_SIZE_MISMATCH or E_SYMLINK.
func decode(c jobspec.CID, block []byte) (node, error) {
	switch codec := c.Cid().Prefix().Codec; codec {
	case cid.Raw:
		return node{kind: File, data: block, size: int64(len(block)), stored: uint64(len(block))}, nil
	case cid.DagProtobuf:
		return decodePB(c, block)
	default:
		return node{}, jobspec.Failure{
			Kind:   jobspec.KindCodec,
			Detail: c.String() + " has codec " + multicodec.Code(codec).String() + ", which holds no files",
			Hint:   "give a UnixFS root (dag-pb or raw), or read it as one file with --as car (inputs[].as: car)",
		}.Error()
	}
}

func decodePB(c jobspec.CID, block []byte) (node, error) {
	nb := dagpb.Type.PBNode.NewBuilder()
	if err := dagpb.DecodeBytes(nb, block); err != nil {
		return node{}, jobspec.KindUnixFS.Errorf("block %s is not dag-pb: %v", c, err)
	}
	pbn := nb.Build().(dagpb.PBNode)
	if !pbn.Data.Exists() {
		return node{}, jobspec.KindUnixFS.Errorf("block %s has no UnixFS data", c)
	}
	fs, err := unixfs.FromBytes(pbn.Data.Must().Bytes())
	if err != nil {
		return node{}, jobspec.KindUnixFS.Errorf("block %s: %v", c, err)
	}
	n := node{data: fs.GetData(), links: pbLinks(pbn), sizes: fs.GetBlocksizes(), stored: uint64(len(block))}
	switch fs.GetType() {
	case pb.Data_File, pb.Data_Raw:
		return asFile(c, n, fs)
	case pb.Data_Directory:
		return asDir(c, n)
	case pb.Data_HAMTShard:
		return asShard(c, n, fs)
	case pb.Data_Symlink:
		return asSymlink(c, n)
	}
	return node{}, jobspec.KindUnixFS.Errorf("block %s has UnixFS type %s, which is not read", c, fs.GetType())
}

func pbLinks(pbn dagpb.PBNode) []Link {
	links := make([]Link, 0, pbn.Links.Length())
	for it := pbn.Links.Iterator(); !it.Done(); {
		_, l := it.Next()
		link := Link{CID: jobspec.WrapCID(l.Hash.Link().(cidlink.Link).Cid)}
		if l.Name.Exists() {
			link.Name = l.Name.Must().String()
		}
		if l.Tsize.Exists() {
			link.Tsize = uint64(l.Tsize.Must().Int())
		}
		links = append(links, link)
	}
	return links
}

func asFile(c jobspec.CID, n node, fs *pb.Data) (node, error) {
	if len(n.sizes) != len(n.links) {
		return node{}, jobspec.KindSizeMismatch.Errorf("file block %s has %d links and %d block sizes", c, len(n.links), len(n.sizes))
	}
	sum := uint64(len(n.data))
	for _, s := range n.sizes {
		if s > math.MaxInt64-sum {
			return node{}, jobspec.KindSizeMismatch.Errorf("file block %s declares over 2^63 bytes", c)
		}
		sum += s
	}
	if fs.Filesize != nil && *fs.Filesize != sum {
		return node{}, jobspec.KindSizeMismatch.Errorf("file block %s declares %d bytes, its parts have %d", c, *fs.Filesize, sum)
	}
	n.kind, n.size = File, int64(sum)
	return n, nil
}

func asDir(c jobspec.CID, n node) (node, error) {
	if len(n.data) != 0 || len(n.sizes) != 0 {
		return node{}, jobspec.KindUnixFS.Errorf("directory block %s holds file data", c)
	}
	n.kind = Dir
	return n, checkNames(n.links)
}

func asSymlink(c jobspec.CID, n node) (node, error) {
	if len(n.links) != 0 || len(n.sizes) != 0 {
		return node{}, jobspec.KindUnixFS.Errorf("symlink block %s has links", c)
	}
	target := string(n.data)
	if target == "" || len(target) > maxTarget || strings.ContainsRune(target, 0) {
		return node{}, jobspec.KindSymlink.Errorf("symlink block %s has a target of %d bytes, want 1 to %d without NUL", c, len(target), maxTarget)
	}
	n.kind = Symlink
	return n, nil
}

// checkNames refuses names that are not allowed and names that stand twice.
// Sorted links, as every writer makes them, cost no memory.
func checkNames(links []Link) error {
	sorted := true
	for i, l := range links {
		if err := CheckName(l.Name); err != nil {
			return err
		}
		sorted = sorted && (i == 0 || links[i-1].Name < l.Name)
	}
	if sorted {
		return nil
	}
	seen := make(map[string]struct{}, len(links))
	for _, l := range links {
		if _, ok := seen[l.Name]; ok {
			return dupName(l.Name)
		}
		seen[l.Name] = struct{}{}
	}
	return nil
}

func dupName(name string) error {
	return jobspec.KindDupName.Errorf("the name %q stands twice in its directory", name)
}
