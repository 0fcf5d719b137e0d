package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/ipdc/ipdc/internal/durable"
	"github.com/ipdc/ipdc/jobspec"
)

// ErrDisk is what an Update's error is, by errors.Is, when the disk took
// nothing now and nothing is in doubt: it is full, has no inodes left or is
// read-only. The same Update may succeed later, without a restart.
var ErrDisk = errors.New("the disk of the state database takes nothing")

// ErrInDoubt is what an Update's error is, by errors.Is, when the store takes no
// more of them: whether this one was made is seen when the database is opened
// again. What it was about to refer to must stay until then.
var ErrInDoubt = errors.New("the state database may hold it or not")

// doubtError is an ErrInDoubt that carries a Failure.
type doubtError struct{ error }

func (doubtError) Is(target error) bool { return target == ErrInDoubt }
func (e doubtError) Unwrap() error      { return e.error }

// metaTried is written to see whether the disk takes something again.
const metaTried = "tried"

// diskError is an ErrDisk that carries a Failure.
type diskError struct{ error }

func (diskError) Is(target error) bool { return target == ErrDisk }
func (e diskError) Unwrap() error      { return e.error }

func takesNothing(path, why string, err error) error {
	hint := "free space on the disk of " + path + "; nothing needs to be started again"
	if errors.Is(err, syscall.EROFS) {
		hint = "see what the kernel says (dmesg), and have the disk of " + path + " mounted read-write; nothing needs to be started again"
	}
	return diskError{jobspec.Failure{Kind: jobspec.KindQuota, Detail: fmt.Sprintf("the disk of the state database %s: %v", why, err), Hint: hint}.Error()}
}

// judge decides what a failed Update means for later ones.
func (s *Store) judge(err error) error {
	code := sqliteCode(err)
	switch code & 0xff {
	case sqlite3.SQLITE_FULL:
		err = takesNothing(s.path, "is full", err)
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		if why := s.probe(); why != nil && !inDoubt(code) {
			err = takesNothing(s.path, "cannot be written", errors.Join(why, err))
			break
		}
		if c := code & 0xff; c == sqlite3.SQLITE_READONLY || c == sqlite3.SQLITE_CANTOPEN {
			break
		}
		if !inDoubt(code) && s.odd.CompareAndSwap(false, true) {
			err = takesNothing(s.path, "failed a write and seems to be well again", err)
			break
		}
		s.fail(doubtError{refusal(s.path, fmt.Sprintf("a write failed, nothing more is written: %v", err), "check the disk, then start the node again")})
		err = *s.broken.Load()
	}
	if err == nil {
		s.odd.Store(false)
	}
	if err == nil || errors.Is(err, ErrDisk) {
		s.ill.Store(&err)
	}
	return err
}

// inDoubt says of a failure that the disk may hold something else than what
// SQLite believes. After a failed fsync the kernel may have dropped what was to
// be written, and a second fsync would say that all is well.
func inDoubt(code int) bool {
	switch code {
	case sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC, sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_CLOSE:
		return true
	}
	return code&0xff == sqlite3.SQLITE_CORRUPT || code&0xff == sqlite3.SQLITE_NOTADB
}

// probeSize is more than most transactions write.
const probeSize = 64 << 10

// probe returns why a file cannot be written beside the database, where that
// says that the disk takes nothing: SQLite's codes do not tell a read-only disk
// from a broken one.
func (s *Store) probe() error {
	f, err := durable.TempFile(filepath.Dir(s.path))
	if err == nil {
		_, err = f.Write(make([]byte, probeSize))
		err = errors.Join(err, os.Remove(f.Name()), f.Close())
	}
	if durable.Full(err) {
		return err
	}
	return nil
}

// fail ends all writing. The first reason counts.
func (s *Store) fail(why error) {
	if s.broken.CompareAndSwap(nil, &why) {
		s.log.Error("state database", "path", s.path, "err", why)
		close(s.stop)
	}
}

// Run returns nil when ctx ends. When the store has failed a write and takes no
// more, it returns why: the process is to end then, as only opening the
// database again shows what the disk holds.
func (s *Store) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-s.stop:
		return *s.broken.Load()
	}
}

// Check returns nil when the store takes Updates. Where the last one failed it
// tries to write something, so that the answer is about now.
func (s *Store) Check(ctx context.Context) error {
	if p := s.broken.Load(); p != nil {
		return *p
	}
	if p := s.ill.Load(); p == nil || *p == nil {
		return nil
	}
	if why := s.probe(); why != nil {
		return takesNothing(s.path, "cannot be written", why)
	}
	return s.Update(ctx, func(tx *Tx) error { return tx.PutMeta(metaTried, rand.Text()) })
}
