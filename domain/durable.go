package domain

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/ipdc/ipdc/internal/durable"
	"github.com/ipdc/ipdc/internal/failpoint"
)

// lockWait bounds how long a change waits for others: each takes milliseconds.
const lockWait = 10 * time.Second

// lock keeps other processes and goroutines from changing anything.
func (f Files) lock() (unlock func(), err error) {
	return f.lockWithin(context.Background(), lockWait)
}

// lockWithin waits for the lock while ctx lasts, so that a process that holds
// it and is stuck stops nobody else.
func (f Files) lockWithin(ctx context.Context, wait time.Duration) (unlock func(), err error) {
	file, err := os.OpenFile(filepath.Join(f.Dir, "domain.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock domain: %w", err)
	}
	late := time.After(wait)
	for {
		err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { file.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			break
		}
		select {
		case <-time.After(lockLook):
			continue
		case <-late:
			err = conflict("look which ipdc holds it: fuser "+file.Name(), "another ipdc has been changing the domain for over %s", wait)
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		break
	}
	return nil, errors.Join(fmt.Errorf("lock domain: %w", err), file.Close())
}

// lockLook is how often a lock that somebody holds is tried.
const lockLook = 5 * time.Millisecond

func (f Files) newDir() (string, error) {
	dir := filepath.Join(f.Dir, "domains")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make directory of domains: %w", err)
	}
	if err := durable.SyncDir(f.Dir); err != nil {
		return "", err
	}
	return os.MkdirTemp(dir, newPrefix)
}

func (f Files) hit(name string) error {
	if f.step != nil {
		return f.step(name)
	}
	return failpoint.Hit("domain." + name)
}

// write replaces a file as a whole.
func (f Files) write(dir, name string, b []byte) error {
	file := filepath.Join(dir, name)
	err := f.hit(name + ".write")
	if err == nil {
		err = writePrivate(file+".new", b)
	}
	if err == nil {
		err = f.rename(name, file+".new", file)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return nil
}

// rename is durable when it returns.
func (f Files) rename(step, from, to string) error {
	if err := f.hit(step + ".rename"); err != nil {
		return err
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	if err := durable.SyncDir(filepath.Dir(to)); err != nil {
		return err
	}
	return f.hit(step + ".done")
}

func writePrivate(file string, b []byte) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}

// readPrivate reads what seal wrote into a file that only its owner may read.
func readPrivate(file string, limit int, v any) error {
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("others may read it (mode %04o): chmod 600 it", info.Mode().Perm())
	}
	if info.Size() > int64(limit)+128 {
		return fmt.Errorf("it has %d bytes, at most %d are possible", info.Size(), limit)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return unseal(b, limit, v)
}
