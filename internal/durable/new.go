package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// newPrefix begins the names of files and directories that are on their way.
const newPrefix = ".ipdc-new-"

// TempFile makes a file of mode 0600 in dir, under a name of its own, which is
// this process's until it is closed.
func TempFile(dir string) (*os.File, error) {
	for {
		f, err := os.CreateTemp(dir, newPrefix)
		if err != nil {
			return nil, err
		}
		ours, err := claim(f)
		switch {
		case ours:
			return f, nil
		case err != nil:
			return nil, errors.Join(err, os.Remove(f.Name()), f.Close())
		}
		_ = f.Close() // a Sweep was faster
	}
}

// TempDir makes a directory of mode 0700 in dir, to be opened, filled and moved
// from. done removes it with what is in it, and may be called twice.
func TempDir(dir string) (made *os.File, done func(), err error) {
	for {
		name, err := os.MkdirTemp(dir, newPrefix)
		if err != nil {
			return nil, nil, err
		}
		d, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a Sweep was faster
		}
		if err != nil {
			return nil, nil, errors.Join(err, os.Remove(name))
		}
		ours, err := claim(d)
		if ours {
			return d, func() {
				_ = os.RemoveAll(name) // or a later Sweep does
				_ = d.Close()
			}, nil
		}
		_ = d.Close()
		if err != nil {
			return nil, nil, errors.Join(err, os.Remove(name))
		}
	}
}

// claim locks what was made. It is not ours where a Sweep removed it before.
// Where there are no locks it is ours in any case: no Sweep takes anything there.
func claim(f *os.File) (ours bool, err error) {
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil && !unlockable(err) {
		return false, &os.PathError{Op: "lock", Path: f.Name(), Err: err}
	}
	made, err := f.Stat()
	if err != nil {
		return false, err
	}
	there, err := os.Lstat(f.Name())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(made, there), err
}

// unlockable says of an error that the file system has no such locks. NFS has
// them for files that are open for writing only.
func unlockable(err error) bool {
	return errors.Is(err, unix.ENOLCK) || errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EBADF)
}

// Sweep removes what processes that are gone left half made in a directory. It
// leaves alone what another process works on, and what it cannot lock.
func Sweep(dir string) (failed error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), newPrefix) {
			failed = errors.Join(failed, sweep(filepath.Join(dir, e.Name())))
		}
	}
	return failed
}

func sweep(path string) error {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it is done
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil // somebody's, or nobody can tell
	}
	return os.RemoveAll(path)
}
