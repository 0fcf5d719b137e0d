// Package durable replaces files so that a crash, a power loss or a full disk
// leaves the old one or the new one, whole.
//
//	err := durable.WriteFile(path, b, 0o600)
//
// Invariant: once WriteFile has returned nil the new bytes are there after a
// power loss; when it fails the old ones are, or, where only the last step
// failed, either.
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
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
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
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return SyncDir(filepath.Dir(path))
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
