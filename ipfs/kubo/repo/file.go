package repo

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/ipdc/ipdc/internal/durable"
	"github.com/ipdc/ipdc/jobspec"
)

// maxFile bounds what is read; a configuration has some kilobytes.
const maxFile = 4 << 20

// under runs do while no Kubo can take the repository, or as it is when dry.
func (r *Repo) under(dry bool, do func() ([]Change, error)) ([]Change, error) {
	if dry {
		return do()
	}
	unlock, err := r.lock()
	if err != nil {
		return nil, err
	}
	changes, err := do()
	return changes, errors.Join(err, unlock())
}

// lock takes repo.lock as Kubo itself does: by fcntl.
func (r *Repo) lock() (unlock func() error, err error) {
	name := filepath.Join(r.dir, "repo.lock")
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock the repository: %w", err)
	}
	all := syscall.Flock_t{Type: syscall.F_WRLCK, Whence: io.SeekStart}
	if err := syscall.FcntlFlock(f.Fd(), syscall.F_SETLK, &all); err != nil {
		f.Close()
		return nil, jobspec.Failure{
			Kind: jobspec.KindConflict, Where: r.dir, Detail: "a Kubo runs on this repository, and reads its configuration only when it starts",
			Hint: "stop it first: IPFS_PATH=" + r.dir + " ipfs shutdown; --dry-run shows what would change",
		}.Error()
	}
	return func() error { return errors.Join(os.Remove(name), f.Close()) }, nil
}

// read returns a file of the repository, nil when there is none. It follows no
// link: root may be at work in somebody else's directory, and copies what it
// reads for that owner.
func (r *Repo) read(name string) ([]byte, error) {
	f, err := os.OpenFile(filepath.Join(r.dir, name), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the repository: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("over %d bytes", maxFile)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	return b, nil
}

// write replaces a file as a whole, for nobody but the owner of the repository.
func (r *Repo) write(name string, b []byte) error {
	info, err := os.Lstat(filepath.Join(r.dir, configFile))
	if err != nil {
		return fmt.Errorf("write the repository: %w", err)
	}
	path := filepath.Join(r.dir, name)
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("write the repository: %w", err)
	}
	_, err = f.Write(b)
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && err == nil {
		err = f.Chown(int(owner.Uid), int(owner.Gid))
	}
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err == nil {
		err = durable.SyncDir(r.dir)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func (r *Repo) remove(name string) error {
	err := os.Remove(filepath.Join(r.dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(err, durable.SyncDir(r.dir))
}
