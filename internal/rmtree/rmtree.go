// Package rmtree removes directory trees that a hostile program may have made:
// of any depth, without rights to enter them, or changing meanwhile.
//
//	err := rmtree.Remove(filepath.Join(dir, "outputs"))
//
// os.RemoveAll goes down recursively with an open file per level, and stops at
// a directory it may not read.
//
// Invariants: no symbolic link is followed; at most three files are open at a
// time, whatever the depth; a path that does not exist is no error; mount
// points are not crossed into, they fail with EBUSY.
package rmtree

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// batch is how many names of a directory are held at a time.
const batch = 1024

// Remove removes path and all below it. It works level by level: what lies in
// a directory's directories is moved up beside them, under new names, until
// nothing is left.
func Remove(path string) error {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && st.IsDir() {
		err = empty(path)
	}
	if err == nil {
		err = os.Remove(path)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove tree %s: %w", filepath.Base(path), err)
	}
	return nil
}

// empty removes everything in the directory path.
func empty(path string) error {
	root, err := openDir(unix.AT_FDCWD, path)
	if err != nil {
		return err
	}
	defer root.Close()
	r := remover{top: root}
	for {
		n, err := r.pass(root, false)
		if err != nil || n == 0 {
			return err
		}
	}
}

// remover moves directories up into top under names of its own.
type remover struct {
	top  *os.File
	next int
}

// pass removes the files in dir and deals with its directories: those of top
// are emptied by moving, those below are moved. It returns how many entries it
// saw.
func (r *remover) pass(dir *os.File, below bool) (seen int, err error) {
	if _, err := dir.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	for {
		names, err := dir.Readdirnames(batch)
		seen += len(names)
		if errors.Is(err, io.EOF) {
			return seen, nil
		}
		if err != nil {
			return seen, err
		}
		for _, name := range names {
			if err := r.entry(dir, name, below); err != nil {
				return seen, err
			}
		}
	}
}

func (r *remover) entry(dir *os.File, name string, below bool) error {
	fd := int(dir.Fd())
	err := unix.Unlinkat(fd, name, 0)
	if err == nil || err == unix.ENOENT {
		return nil
	}
	if err != unix.EISDIR && err != unix.EPERM {
		return &fs.PathError{Op: "unlink", Path: name, Err: err}
	}
	if unix.Unlinkat(fd, name, unix.AT_REMOVEDIR) == nil {
		return nil
	}
	if below {
		return r.moveUp(fd, name)
	}
	sub, err := openDir(fd, name)
	if err != nil {
		return err
	}
	defer sub.Close()
	if _, err := r.pass(sub, true); err != nil {
		return err
	}
	// A writer may have added something: the next pass sees it again.
	if err := unix.Unlinkat(fd, name, unix.AT_REMOVEDIR); err != nil && err != unix.ENOTEMPTY && err != unix.ENOENT {
		return &fs.PathError{Op: "rmdir", Path: name, Err: err}
	}
	return nil
}

// moveUp renames a directory into top. That changes its "..", which needs the
// right to write to the directory itself.
func (r *remover) moveUp(fd int, name string) error {
	for opened := false; ; {
		to := ".rm" + strconv.Itoa(r.next)
		err := unix.Renameat2(fd, name, int(r.top.Fd()), to, unix.RENAME_NOREPLACE)
		switch {
		case err == nil || err == unix.ENOENT:
			return nil
		case err == unix.EEXIST:
			r.next++
		case err == unix.EACCES && !opened:
			sub, err := openDir(fd, name)
			if err != nil {
				return err
			}
			sub.Close()
			opened = true
		default:
			return &fs.PathError{Op: "rename", Path: name, Err: err}
		}
	}
}

// openDir opens a directory, never through a link, and makes sure that its
// owner may read and change it.
func openDir(at int, name string) (*os.File, error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(at, name, flags, 0)
	if err == unix.EACCES {
		// Fchmodat follows links; the open after it does not, and a link's
		// target that this user owns gets no more than its owner's rights.
		if err = unix.Fchmodat(at, name, 0o700, 0); err == nil {
			fd, err = unix.Openat(at, name, flags, 0)
		}
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	if os.Geteuid() != 0 {
		if err := unix.Fchmod(fd, 0o700); err != nil {
			unix.Close(fd)
			return nil, &fs.PathError{Op: "chmod", Path: name, Err: err}
		}
	}
	return os.NewFile(uintptr(fd), name), nil
}
