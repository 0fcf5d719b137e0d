package attach

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ipdc/ipdc/internal/durable"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/merge"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// Node is what keeps the directory of roots.
type Node interface {
	ipfs.Getter
	Add(ctx context.Context, name string, fill func(ipfs.Session) (jobspec.CID, error)) (jobspec.CID, error)
	Unpin(ctx context.Context, name string) error
	Pins(ctx context.Context, prefix string) ([]ipfs.Pin, error)
}

// Bounds of a directory that is attached.
const (
	maxLevels  = 64
	maxEntries = 1_000_000
	carSuffix  = ".car"
)

// Attach serves a CAR file, or each regular file below a directory whose name
// ends in .car, and returns the root: that of the file, or a directory of ours in
// which each file's root stands at the file's path. Links and what is neither
// file nor directory are passed over; a file that cannot be attached is among
// Refused, and an error only when it was asked for itself. Asked again, it reads
// what is new or has changed.
func (s *Set) Attach(ctx context.Context, n Node, path, label string) (wire.Attached, error) {
	var out wire.Attached
	path, err := s.resolve(path)
	if err != nil {
		return out, err
	}
	st, err := os.Lstat(path)
	if err != nil {
		return out, refused(path, err)
	}
	if !st.IsDir() {
		f, err := s.read(ctx, path, label, false)
		if err != nil {
			return out, err
		}
		out.Files = []wire.AttachedFile{f.show()}
		out.Root, err = s.keep(ctx, n, path, []*file{f})
		return out, err
	}
	paths, err := carsBelow(ctx, path)
	if err != nil {
		return out, err
	}
	var files []*file
	for _, p := range paths {
		f, err := s.read(ctx, p, label, false)
		if ctx.Err() != nil {
			return out, context.Cause(ctx)
		}
		if err != nil {
			out.Refused = append(out.Refused, wire.AttachRefusal{Path: p, Failure: jobspec.AsFailure(err)})
			continue
		}
		files, out.Files = append(files, f), append(out.Files, f.show())
	}
	if len(files) == 0 {
		return out, noFiles(path, out.Refused)
	}
	out.Root, err = s.keep(ctx, n, path, files)
	return out, err
}

func noFiles(path string, refused []wire.AttachRefusal) error {
	if len(refused) > 0 {
		f := refused[0].Failure
		f.Detail = fmt.Sprintf("none of the %d files below %s could be attached; the first: %s", len(refused), path, f.Detail)
		return f.Error()
	}
	return jobspec.Failure{
		Kind: jobspec.KindNotFound, Detail: fmt.Sprintf("below %s is no regular file whose name ends in %s", path, carSuffix),
		Hint: "links are not followed; name a CAR file of another name itself",
	}.Error()
}

// resolve makes a path absolute and free of links, but for its last name, which
// is looked at when it is opened.
func (s *Set) resolve(path string) (string, error) {
	if !filepath.IsAbs(path) || strings.ContainsRune(path, 0) {
		return "", jobspec.KindSpec.Errorf("path %.200q is not absolute", path)
	}
	clean := filepath.Clean(path)
	dir, err := filepath.EvalSymlinks(filepath.Dir(clean))
	if err != nil {
		return "", refused(clean, &fs.PathError{Op: "open", Path: clean, Err: errors.Unwrap(err)})
	}
	path = filepath.Join(dir, filepath.Base(clean))
	if own, err := filepath.EvalSymlinks(s.cfg.Node); s.cfg.Node != "" && err == nil && (path == own || strings.HasPrefix(path, own+"/")) {
		return "", jobspec.Failure{
			Kind: jobspec.KindPolicy, Detail: fmt.Sprintf("%s lies in the node's own directory, whose files come and go", path),
			Hint: "keep CAR files elsewhere",
		}.Error()
	}
	return path, nil
}

// carsBelow lists the CAR files below a directory by path. Names that begin with
// a dot are of downloads under way and the like.
func carsBelow(ctx context.Context, dir string) ([]string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, refused(dir, err)
	}
	defer root.Close()
	var paths []string
	entries := 0
	err = fs.WalkDir(root.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entries++; entries > maxEntries {
			return jobspec.KindLimitEntries.Errorf("%s has over %d entries", dir, maxEntries)
		}
		if p != "." && strings.HasPrefix(d.Name(), ".") {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		switch {
		case d.IsDir() && strings.Count(p, "/") >= maxLevels:
			return jobspec.KindDepth.Errorf("%s has over %d levels of directories", dir, maxLevels)
		case d.Type().IsRegular() && strings.HasSuffix(d.Name(), carSuffix):
			paths = append(paths, filepath.Join(dir, p))
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, refused(dir, err)
	}
	slices.Sort(paths)
	return paths, nil
}

// pinPrefix begins the names of the pins that keep directories of roots.
const pinPrefix = "data/"

// keep returns the root of one file, or stores and pins a directory of the roots
// of several. A file of several roots is a directory of these in it.
func (s *Set) keep(ctx context.Context, n Node, path string, files []*file) (jobspec.CID, error) {
	if len(files) == 1 && files[0].record().Path == path && len(files[0].record().Roots) == 1 {
		return files[0].record().Roots[0], nil
	}
	var list []merge.File
	for _, f := range files {
		rec := f.record()
		at, err := filepath.Rel(path, rec.Path)
		if err != nil {
			return jobspec.CID{}, err
		}
		if at == "." {
			at = filepath.Base(path)
		}
		for _, c := range rec.Roots {
			name := filepath.ToSlash(at)
			if len(rec.Roots) > 1 {
				name += "/" + c.String()
			}
			list = append(list, merge.File{Path: name, CID: c, Size: rec.Identity.Size})
		}
	}
	nodes := merge.NewDrafts(n)
	root, err := merge.Files(ctx, nodes, list)
	if err != nil {
		return root, fmt.Errorf("directory of the roots of %d files: %w", len(files), err)
	}
	_, err = n.Add(ctx, pinPrefix+idOf(path), func(w ipfs.Session) (jobspec.CID, error) { return nodes.Keep(ctx, w) })
	return root, err
}

// Detach stops serving what ref means, and returns it. The files stay as they
// are. What pins name of them is remembered until no pin does.
func (s *Set) Detach(ctx context.Context, n Node, ref string) (wire.Attached, error) {
	var out wire.Attached
	if resolved, err := s.resolve(ref); err == nil {
		ref = resolved
	}
	files, err := s.find(ref)
	if err != nil {
		return out, err
	}
	for _, f := range files {
		show := f.show()
		if err := f.detach(); err != nil {
			return out, err
		}
		out.Files = append(out.Files, show)
		if err := n.Unpin(ctx, pinPrefix+idOf(show.Path)); err != nil {
			return out, err
		}
	}
	return out, n.Unpin(ctx, pinPrefix+idOf(ref))
}

// detach makes the record one that is kept for pins.
func (f *file) detach() error {
	if err := f.retire(); err != nil {
		return err
	}
	rec := f.record()
	rec.Detached = false
	if err := os.Remove(filepath.Join(f.dir, rec.name())); err != nil {
		return err
	}
	return durable.SyncDir(f.dir)
}

// retire writes such a record beside the one of the path.
func (f *file) retire() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	rec := f.rec
	rec.Detached = true
	if err := rec.write(f.dir); err != nil {
		return err
	}
	f.rec = rec
	return nil
}
