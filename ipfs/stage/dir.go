package stage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/ipdc/ipdc/internal/rmtree"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
)

// Options say how [Dir] writes. The zero value suits a read-only input cache.
type Options struct {
	Budget   ipfs.Budget                // of the DAG
	Progress func(bytes, entries int64) // called as the work goes on, with totals so far; default none
	FileMode fs.FileMode                // permission bits of every file; default 0444
	DirMode  fs.FileMode                // permission bits of every directory; default 0555
	ModTime  time.Time                  // of every file, directory and link; default the Unix epoch
	Sync     bool                       // the tree is on disk before it becomes visible
	// File allows a root that is a file; dest becomes that file. Without it
	// such a root is an error of kind E_UNIXFS.
	File bool
	// Overwrite allows a dest that is there already, as cp -r does: files
	// are replaced, directories are joined and keep their modes, other files
	// stay. A directory never replaces a file nor the other way round.
	Overwrite bool
}

// Stat counts what was written.
type Stat struct {
	Files    int64
	Dirs     int64 // the root included
	Symlinks int64
	Bytes    int64 // content of files
}

func (o Options) withDefaults() Options {
	if o.FileMode == 0 {
		o.FileMode = 0o444
	}
	if o.DirMode == 0 {
		o.DirMode = 0o555
	}
	if o.ModTime.IsZero() {
		o.ModTime = time.Unix(0, 0)
	}
	if o.Progress == nil {
		o.Progress = func(int64, int64) {}
	}
	o.FileMode, o.DirMode = o.FileMode.Perm(), o.DirMode.Perm()
	return o
}

// Dir writes the DAG below root as dest, whose parent directory must exist.
// dest must be absent or an empty directory, see [Options]. The tree grows
// under a temporary name beside dest (inside it, when it exists) and is moved
// in place when it is whole. Errors are of package tree's kinds, E_SYMLINK for
// a link that leads out of the tree, E_CONFLICT when dest is taken.
func Dir(ctx context.Context, g ipfs.Getter, root jobspec.CID, dest string, o Options) (stat Stat, err error) {
	o = o.withDefaults()
	dest = filepath.Clean(dest)
	p, err := openPlace(dest, o)
	if err != nil {
		return Stat{}, fmt.Errorf("stage %s: %w", root, err)
	}
	defer func() { err = errors.Join(err, p.close()) }()
	w := newWriter(p.temp, o, p.exists)
	err = tree.Read(ctx, g, root, o.Budget, func(e tree.Entry, c *tree.Content) error {
		return w.visit(ctx, e, c)
	})
	if err = errors.Join(err, w.close()); err != nil {
		return Stat{}, fmt.Errorf("stage %s: %w", root, err)
	}
	if err := w.links.Check(); err != nil {
		return Stat{}, fmt.Errorf("stage %s: %w", root, err)
	}
	if o.Sync {
		if err := syncTree(p.temp); err != nil {
			return Stat{}, fmt.Errorf("stage %s: sync: %w", root, err)
		}
	}
	if err := p.commit(w.file); err != nil {
		return Stat{}, fmt.Errorf("stage %s: %w", root, err)
	}
	return w.stat, nil
}

// Remove removes a tree that [Dir] wrote, or what is left of one, read-only
// directories included. It may be absent. No link is followed.
func Remove(dir string) error { return rmtree.Remove(dir) }
