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
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"

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
	sum := sha256.Sum256([]byte(path.Base(name)))
	tmp := path.Join(path.Dir(name), ".ipdc-"+hex.EncodeToString(sum[:16]))
	if err := write(ctx, root, tmp, name, f); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return syncDirs(root, name)
}

// write makes the file tmp and renames it. What a kill has left there is used
// again: its name follows from the file's.
func write(ctx context.Context, root *os.Root, tmp, name string, f delivery.File) (err error) {
	r, err := f.Open(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := take(root, tmp)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = root.Remove(tmp) // while it is locked, it is nobody else's
		}
		err = errors.Join(err, w.Close())
	}()
	if _, err := io.Copy(w, f.Check(r)); err != nil {
		return err
	}
	if err := w.Sync(); err != nil {
		return err
	}
	return root.Rename(tmp, name)
}

// take opens a temporary file, empty and locked: of two that put the same file
// at the same time, one is refused.
func take(root *os.Root, tmp string) (*os.File, error) {
	if info, err := root.Lstat(tmp); err == nil && !ours(info) {
		if err := root.Remove(tmp); err != nil {
			return nil, err
		}
	}
	w, err := root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|syscall.O_NONBLOCK, 0o644) // no waiting for a FIFO's reader
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(w.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.ENOLCK) || errors.Is(err, syscall.EOPNOTSUPP) {
		err = nil // a file system without locks
	}
	if err == nil {
		err = same(root, tmp, w)
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = errors.New("another delivery writes this file now")
	}
	if err == nil {
		err = w.Truncate(0)
	}
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

// same says whether a file that was opened is what has the name: another delivery
// may have renamed it before it was locked, or somebody made a link there.
func same(root *os.Root, name string, f *os.File) error {
	opened, err := f.Stat()
	if err != nil {
		return err
	}
	now, err := root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !(os.SameFile(opened, now) && ours(opened)) {
		return syscall.EWOULDBLOCK
	}
	return err
}

// ours says whether a file is one that an earlier delivery has left: somebody
// else may have made one of that name, to change what is in it later, or a hard
// link to a file of theirs.
func ours(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.Mode().IsRegular() && st.Nlink == 1 && int(st.Uid) == os.Geteuid()
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
