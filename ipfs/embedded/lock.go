package embedded

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// lockFile is held by the process that has the node open. It holds that
// process's id until the node is closed, so that one left behind by a kill or
// a power loss shows.
type lockFile struct {
	f       *os.File
	unclean bool
}

func acquire(path string) (*lockFile, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	owner, readErr := io.ReadAll(io.LimitReader(f, 32))
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = fmt.Errorf("process %s has it open; stop that one first", strings.TrimSpace(string(owner)))
	}
	if err := errors.Join(err, readErr); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if _, err := f.WriteAt(fmt.Appendf(nil, "%-10d\n", os.Getpid()), 0); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &lockFile{f: f, unclean: len(owner) > 0}, nil
}

func (l *lockFile) release() error { return errors.Join(l.f.Truncate(0), l.f.Close()) }

// syncAll makes files and directories durable, in order.
func syncAll(paths ...string) error {
	for _, p := range paths {
		if err := withFile(p, (*os.File).Sync); err != nil {
			return fmt.Errorf("sync %s: %w", p, err)
		}
	}
	return nil
}

func syncFileSystem(path string) error {
	return withFile(path, func(f *os.File) error { return unix.Syncfs(int(f.Fd())) })
}

func withFile(path string, do func(*os.File) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(do(f), f.Close())
}
