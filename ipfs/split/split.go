package split

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/internal/dag"
	"github.com/ipdc/ipdc/ipfs/merge"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
)

// DefaultSize is the size of a shard that is aimed at, in bytes: some seconds
// of work for most programs, and 64 leaves.
const DefaultSize = 64 << 20

// Options say where the borders are.
type Options struct {
	// By is jobspec.SplitSize, for shards of whole files,
	// jobspec.SplitLines, which cuts large files behind line ends too, or
	// jobspec.SplitBytes, which cuts them between records; or
	// jobspec.SplitEntries, for what lies below each entry of the root; or
	// jobspec.SplitCAR, for what lies below each name that ends in .car.
	By jobspec.SplitBy
	// Size is what a shard aims at, in bytes; default DefaultSize. A shard of
	// small files has a quarter to twice of it, and at most 10,000 files.
	Size int64
	// Into asks for that many shards of about the same size instead; there
	// are fewer where the files, lines or records are too few. 0 = as Size says.
	Into int
	// Record is the length of a record in bytes, with jobspec.SplitBytes; 0 = 1.
	Record int64
	// Sample asks for one shard of at most so many pieces of about Size, spread
	// evenly over all bytes, each at NUMBER/PATH, instead; 0 = for all of the input.
	Sample int
	// Budget bounds the reading of the dataset; it has at most 1,000,000
	// entries and 2^62 bytes by default, as limits of inputs hold per task.
	Budget ipfs.Budget
}

// Shard is a part of a dataset.
type Shard struct {
	CID   jobspec.CID // a directory
	Bytes int64       // of file content
	Files []File      // files, or pieces of them, in byte order of their paths
}

// File is a file of a shard, or a piece of one.
type File struct {
	merge.File
	Offset int64 // at which the piece begins in the dataset's file of that path; 0 for whole files
}

// Split returns the shards of the directory root. Their new nodes are written
// to s; the dataset's blocks must be readable through it, the leaves only
// where a border is looked for. A dataset without files has no shards. The
// error is of kind E_LIMIT, before anything is read or written for them, when
// there would be over 100,000.
func Split(ctx context.Context, s ipfs.Session, root jobspec.CID, o Options) ([]Shard, error) {
	o.Size = cmp.Or(o.Size, DefaultSize)
	o.Record = cmp.Or(o.Record, 1)
	o.Budget.Entries = cmp.Or(o.Budget.Entries, 1_000_000)
	o.Budget.Bytes = cmp.Or(o.Budget.Bytes, 1<<62)
	o.Budget.Blocks = cmp.Or(o.Budget.Blocks, 16*o.Budget.Entries)
	files, err := list(ctx, s, root, o.Budget)
	if err != nil {
		return nil, err
	}
	c := &cutter{s: s, o: o, left: allLeaves}
	c.o.Budget.Blocks = pieceLeaves
	groups, err := c.groups(ctx, files)
	if err == nil {
		err = o.bound(int64(len(groups)))
	}
	if err != nil {
		return nil, fmt.Errorf("split %s: %w", root, err)
	}
	shards := make([]Shard, 0, len(groups))
	for _, g := range groups {
		shard, err := c.write(ctx, g)
		if err != nil {
			return nil, fmt.Errorf("split %s: shard %d: %w", root, len(shards), err)
		}
		shards = append(shards, shard)
	}
	return shards, nil
}

// file is a leaf of the dataset.
type file struct {
	path string
	cid  jobspec.CID
	size int64
}

// list returns all files in byte order of their paths.
func list(ctx context.Context, g ipfs.Getter, root jobspec.CID, b ipfs.Budget) ([]file, error) {
	var files []file
	err := tree.Outline(ctx, g, root, b, func(e tree.Entry) error { // the content may be elsewhere
		if e.Kind == tree.File {
			files = append(files, file{path: e.Path, cid: e.CID, size: e.Size})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(files) == 1 && files[0].path == "" {
		return nil, jobspec.KindUnixFS.Errorf("%s is a file, want a directory", root)
	}
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.path, b.path) })
	return files, nil
}

// piece is the bytes [from, to) of a file.
type piece struct {
	file
	from, to int64
}

func whole(f file) piece { return piece{file: f, to: f.size} }

// cuts says whether large files are cut.
func (o Options) cuts() bool { return jobspec.Split{By: o.By}.Cuts() }

// cutter splits one dataset.
type cutter struct {
	s    ipfs.Session
	o    Options // Budget: of one piece
	left int     // leaves that pieces may still have
}

func (c *cutter) groups(ctx context.Context, files []file) ([][]piece, error) {
	switch {
	case c.o.Sample > 0:
		return c.sample(ctx, files)
	case c.o.By == jobspec.SplitEntries:
		return byEntry(files), nil
	case c.o.By == jobspec.SplitCAR:
		return bySector(files)
	case c.o.Into > 0 && c.o.cuts():
		return c.piecesInto(ctx, files)
	case c.o.Into > 0:
		return filesInto(files, c.o.Into), nil
	}
	return c.bySize(ctx, files)
}

// write stores the directory of one shard.
func (c *cutter) write(ctx context.Context, pieces []piece) (Shard, error) {
	var out Shard
	files := make([]merge.File, 0, len(pieces))
	for _, p := range pieces {
		f := merge.File{Path: p.path, CID: p.cid, Size: p.to - p.from}
		if f.Size < p.size {
			l, err := c.slice(ctx, p)
			if err != nil {
				return out, err
			}
			f.CID = l.CID
		}
		files = append(files, f)
		out.Files = append(out.Files, File{f, p.from})
		out.Bytes += f.Size
	}
	var err error
	out.CID, err = merge.Files(ctx, c.s, files)
	return out, err
}

// slice stores the nodes of a piece: whole leaves are linked, those at its
// borders are cut.
func (c *cutter) slice(ctx context.Context, p piece) (dag.Link, error) {
	f := dag.NewFile(c.s)
	_, err := tree.Leaves(ctx, c.s, p.cid, c.o.Budget, p.from, p.to, func(l tree.Leaf) error {
		if c.left--; c.left < 0 {
			return jobspec.Failure{
				Kind: jobspec.KindLimit, Detail: fmt.Sprintf("the files that are cut have over %d leaves", allLeaves), Hint: cutLess,
			}.Error()
		}
		if l.CID.Defined() && l.Offset >= p.from && l.Offset+l.Size <= p.to {
			f.Add(dag.Link{CID: l.CID, Size: l.Tsize}, l.Size)
			return nil
		}
		data, err := l.Data(ctx)
		if err != nil {
			return err
		}
		data = data[max(p.from-l.Offset, 0):min(p.to-l.Offset, l.Size)]
		part, err := dag.Leaf(ctx, c.s, data)
		f.Add(part, int64(len(data)))
		return err
	})
	if err != nil {
		return dag.Link{}, cutHint(err)
	}
	l, _, err := f.Write(ctx)
	return l, err
}
