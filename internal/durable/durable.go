// Package durable replaces files so that a crash, a power loss or a full disk
// leaves the old one or the new one, whole.
//
//	err := durable.WriteFile(path, b, 0o600)
//
// Invariant: once WriteFile has returned nil the new bytes are there after a
// power loss; when it fails the old ones are, or, where only the last step
// failed, either. What a killed process leaves is locked by nobody, and goes
// with the next Sweep of its directory.
package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// WriteFile replaces the file at path, or makes it, with these permissions
// whatever the umask: a new file is written and synced, renamed, and its
// directory synced.
func WriteFile(path string, b []byte, mode fs.FileMode) error {
	return write(path, b, mode, os.Rename)
}

// CreateFile is WriteFile for a file that is not there; where it is, it stays
// as it is and the error is fs.ErrExist.
func CreateFile(path string, b []byte, mode fs.FileMode) error {
	return write(path, b, mode, func(from, to string) error {
		if err := os.Link(from, to); err != nil {
			return err
		}
		return os.Remove(from)
	})
}

func write(path string, b []byte, mode fs.FileMode, move func(from, to string) error) error {
	f, err := TempFile(filepath.Dir(path))
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = move(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()), f.Close())
	}
	return errors.Join(SyncDir(filepath.Dir(path)), f.Close())
}

// Full says of an error that a disk takes nothing now, and perhaps will again:
// it is full, over its quota, or read-only.
func Full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EROFS)
}

// SyncDir makes the names in a directory durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
