package merge

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/ipfs/go-cid"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/internal/dag"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
)

// File is one leaf of a tree that [Files] builds.
type File struct {
	Path string // slash-separated, relative; every element passes tree.CheckName
	CID  jobspec.CID
	// Size is the file's content in bytes, as tree.Walk gave it. With a CID of
	// codec raw it saves the reading of the file; it enters the directory's
	// CID, so it must be right. Zero means that it is not known.
	Size int64
}

// Files builds the directory that holds the given files and no others, in
// whatever order they come. The same path with the same CID may come twice;
// with another CID, or as a directory too, it is an error of kind E_DUP_NAME.
func Files(ctx context.Context, s ipfs.Session, files []File) (jobspec.CID, error) {
	root := folder{}
	for _, f := range files {
		if err := root.add(f); err != nil {
			return jobspec.CID{}, fmt.Errorf("tree of %d files: %w", len(files), err)
		}
	}
	l, err := root.write(ctx, s)
	if err != nil {
		return jobspec.CID{}, fmt.Errorf("tree of %d files: %w", len(files), err)
	}
	return l.CID, nil
}

// Shards puts each root into a directory under its index, zero-padded to equal
// width ("00" to "41").
func Shards(ctx context.Context, s ipfs.Session, roots []jobspec.CID) (jobspec.CID, error) {
	width := len(strconv.Itoa(max(0, len(roots)-1)))
	dir := dag.NewDirectory(s)
	for i, c := range roots {
		l, err := dag.LinkTo(ctx, s, c)
		if err != nil {
			return jobspec.CID{}, fmt.Errorf("shard %d: %w", i, err)
		}
		dir.Add(fmt.Sprintf("%0*d", width, i), l)
	}
	l, err := dir.Write(ctx)
	if err != nil {
		return jobspec.CID{}, fmt.Errorf("directory of %d shards: %w", len(roots), err)
	}
	return l.CID, nil
}

// Wrap returns a directory whose one entry is c under name.
func Wrap(ctx context.Context, s ipfs.Session, name string, c jobspec.CID) (jobspec.CID, error) {
	if err := tree.CheckName(name); err != nil {
		return jobspec.CID{}, fmt.Errorf("wrap %s: %w", c, err)
	}
	l, err := dag.LinkTo(ctx, s, c)
	if err != nil {
		return jobspec.CID{}, fmt.Errorf("wrap %s: %w", c, err)
	}
	dir := dag.NewDirectory(s)
	dir.Add(name, l)
	if l, err = dir.Write(ctx); err != nil {
		return jobspec.CID{}, fmt.Errorf("wrap %s: %w", c, err)
	}
	return l.CID, nil
}

// folder is a directory that is being built. Exactly one of its two maps holds
// a name.
type folder struct {
	files   map[string]File
	folders map[string]*folder
}

func (d *folder) add(f File) error {
	names := strings.Split(f.Path, "/")
	if len(names) > maxLevels {
		return jobspec.KindDepth.Errorf("%.256q has %d levels, at most %d are allowed", f.Path, len(names), maxLevels)
	}
	for i, name := range names {
		if err := tree.CheckName(name); err != nil {
			return fmt.Errorf("%.256q: %w", f.Path, err)
		}
		if i == len(names)-1 {
			return d.file(name, f)
		}
		next, err := d.folder(name, f)
		if err != nil {
			return err
		}
		d = next
	}
	return nil
}

func (d *folder) file(name string, f File) error {
	old, taken := d.files[name]
	if d.folders[name] != nil || taken && old.CID != f.CID {
		return jobspec.KindDupName.Errorf("%.256q is there twice", f.Path)
	}
	if d.files == nil {
		d.files = map[string]File{}
	}
	d.files[name] = f
	return nil
}

func (d *folder) folder(name string, f File) (*folder, error) {
	if _, taken := d.files[name]; taken {
		return nil, jobspec.KindDupName.Errorf("%.256q: %q is a file too", f.Path, name)
	}
	if d.folders == nil {
		d.folders = map[string]*folder{}
	}
	if d.folders[name] == nil {
		d.folders[name] = &folder{}
	}
	return d.folders[name], nil
}

// write stores the folder; add has bounded its depth.
func (d *folder) write(ctx context.Context, s ipfs.Session) (dag.Link, error) {
	dir := dag.NewDirectory(s)
	for name, f := range d.files {
		l, err := f.link(ctx, s)
		if err != nil {
			return dag.Link{}, fmt.Errorf("%.256q: %w", f.Path, err)
		}
		dir.Add(name, l)
	}
	for name, sub := range d.folders {
		l, err := sub.write(ctx, s)
		if err != nil {
			return dag.Link{}, err
		}
		dir.Add(name, l)
	}
	return dir.Write(ctx)
}

// link reads the root block of a file of several blocks, as its link's size
// counts those too.
func (f File) link(ctx context.Context, s ipfs.Session) (dag.Link, error) {
	if f.CID.Defined() && f.CID.Cid().Type() != cid.DagProtobuf && f.Size > 0 {
		return dag.Link{CID: f.CID, Size: uint64(f.Size)}, nil
	}
	return dag.LinkTo(ctx, s, f.CID)
}
