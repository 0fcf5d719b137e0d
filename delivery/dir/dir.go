// Package dir stores files in a directory of this machine.
//
//	st := dir.New("/srv/results")
//	err := st.Put(ctx, "2026/a.png", file)
//
// Invariants: a file appears whole, under its name, after it was synced;
// nothing outside the directory is touched, whatever links somebody made in
// it. The directory itself is never made: its owner says by it that it is
// meant, and a file system that is not mounted is not written around.
package dir

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/ipdc/ipdc/delivery"
)

// Store is a directory.
type Store struct{ top, below string }

var _ delivery.Store = (*Store)(nil)

// New returns the directory below inside top, which is there; below is made
// when something is put, and may be empty.
func New(top, below string) *Store { return &Store{top: top, below: below} }

// Put implements [delivery.Store].
func (s *Store) Put(ctx context.Context, name string, f delivery.File) (err error) {
	root, err := os.OpenRoot(s.top)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the directory %s is not there: make it, or mount what belongs there", s.top)
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", s.top, err)
	}
	defer root.Close()
	name = path.Join(s.below, name)
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return fmt.Errorf("make the directory of %s: %w", name, err)
	}
	tmp := path.Join(path.Dir(name), ".ipdc-"+rand.Text())
	defer func() {
		if err != nil {
			_ = root.Remove(tmp)
		}
	}()
	if err := write(ctx, root, tmp, f); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := root.Rename(tmp, name); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return syncDirs(root, name)
}

func write(ctx context.Context, root *os.Root, tmp string, f delivery.File) (err error) {
	r, err := f.Open(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	if _, err := io.Copy(w, f.Check(r)); err != nil {
		return err
	}
	return w.Sync()
}

// syncDirs makes the names on the way to a file durable, from the file's own
// directory up to the top.
func syncDirs(root *os.Root, name string) error {
	for dir := path.Dir(name); ; dir = path.Dir(dir) {
		d, err := root.Open(dir)
		if err != nil {
			return fmt.Errorf("sync %s: %w", dir, err)
		}
		if err := errors.Join(d.Sync(), d.Close()); err != nil {
			return fmt.Errorf("sync %s: %w", dir, err)
		}
		if dir == "." {
			return nil
		}
	}
}
