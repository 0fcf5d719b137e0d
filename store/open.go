package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/ipdc/ipdc/internal/durable"
	"github.com/ipdc/ipdc/jobspec"
)

// applicationID marks a SQLite file as ipdc's: "ipdc" in ASCII.
const applicationID = 0x69706463

// metaOpen is "1" in the main file while a process has the database open: what
// it committed may be in the write-ahead log only.
const metaOpen = "open"

// metaID names this database for ever.
const metaID = "id"

// Open opens the database at path and makes it when nothing is there, in a
// directory that must exist. The file is readable by its owner only. It
// refuses, with text that says what to do, a database that is damaged, made by
// something else, made by a newer version, or open in another process. log may
// be nil.
func Open(ctx context.Context, path string, log *slog.Logger) (*Store, error) {
	return open(ctx, path, log, migrationFiles)
}

func open(ctx context.Context, path string, log *slog.Logger, migrations fs.FS) (_ *Store, err error) {
	if log == nil {
		log = slog.Default()
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, fmt.Errorf("open state database: %w", err)
	}
	s := &Store{path: path, log: log, stop: make(chan struct{})}
	if s.lock, err = lock(path); err != nil {
		return nil, s.explain(err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(s.explain(err), s.abandon())
		}
	}()
	if err = ensureFile(ctx, path, migrations); err != nil {
		return nil, err
	}
	id := peek(ctx, path, metaID)
	if s.writer, err = dial(path, 1, false); err != nil {
		return nil, err
	}
	if err = upgrade(ctx, s.writer, path, migrations, log); err != nil {
		return nil, err
	}
	if err = requireSame(ctx, s.writer, path, id); err != nil {
		return nil, err
	}
	if err = markOpen(ctx, s.writer); err != nil {
		return nil, unreadable(path, err)
	}
	if s.reader, err = dial(path, readers, true); err != nil {
		return nil, err
	}
	return s, s.hold(ctx)
}

// abandon releases what a failed Open had taken.
func (s *Store) abandon() error {
	err := s.lock.Close()
	if s.anchor != nil {
		err = errors.Join(s.anchor.Close(), err)
	}
	for _, db := range []*sql.DB{s.reader, s.writer} {
		if db != nil {
			err = errors.Join(db.Close(), err)
		}
	}
	return err
}

// explain says of an error without a hint that the disk takes nothing, if so, or
// which file cannot be written.
func (s *Store) explain(err error) error {
	if jobspec.AsFailure(err).Hint != "" {
		return err
	}
	if why := s.probe(); why != nil {
		return takesNothing(s.path, "cannot be written", errors.Join(why, err))
	}
	if s.lock == nil { // it may be another's
		return err
	}
	for _, path := range []string{s.path, s.path + "-wal", s.path + "-shm"} {
		f, why := os.OpenFile(path, os.O_RDWR, 0)
		if why == nil {
			why = f.Close()
		}
		if why != nil && !errors.Is(why, fs.ErrNotExist) {
			return refusal(path, "a file of the state database cannot be written: "+why.Error(), "let the node's user write to it; the others can stay as they are")
		}
	}
	if sqliteCode(err) == sqlite3.SQLITE_READONLY {
		return damaged(s.path, err.Error()) // its header says that a later program wrote it
	}
	return err
}

// ensureFile makes a new database when there is none, and refuses what must
// not be handed to SQLite, which would take an empty file for a new database
// and a missing log for an empty one.
func ensureFile(ctx context.Context, path string, migrations fs.FS) error {
	walInfo, walErr := os.Stat(path + "-wal")
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && walErr == nil && walInfo.Size() > 0:
		return refusal(path, "the state database is gone, its write-ahead log is still there", "put the file back; to start empty, remove "+path+"-wal")
	case errors.Is(err, fs.ErrNotExist):
		return create(ctx, path, migrations)
	case err != nil:
		return fmt.Errorf("open state database: %w", err)
	case !info.Mode().IsRegular():
		return refusal(path, "the state database is not a regular file", "name another state directory")
	case info.Size() == 0:
		return damaged(path, "it is empty (0 bytes)")
	}
	return requireLog(ctx, path)
}

// create builds the database under another name and renames it, so that a
// crash leaves either none or a whole one: an empty file is always damage.
func create(ctx context.Context, path string, migrations fs.FS) error {
	tmp := path + ".new"
	for _, suffix := range []string{"", "-journal", "-wal", "-shm"} {
		if err := os.Remove(tmp + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("create state database: %w", err)
		}
	}
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("create state database: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("create state database: %w", err)
	}
	db, err := dial(tmp, 1, false)
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d; PRAGMA journal_mode = wal", applicationID))
	if err == nil {
		err = migrate(ctx, db, migrations, 0)
	}
	if err == nil {
		err = run(ctx, db, func(tx *Tx) error { return tx.PutMeta(metaID, rand.Text()) })
	}
	if err = errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("create state database %s: %w", path, err)
	}
	return publish(tmp, path)
}

// publish makes the closed file tmp durable under the name path.
func publish(tmp, path string) error {
	f, err := os.OpenFile(tmp, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(path))
}

// peek reads a fact from the main file alone, as if there were no write-ahead
// log, without making one. Damage gives "": the checks of upgrade find it.
func peek(ctx context.Context, path, key string) string {
	db, err := sql.Open("sqlite", dsn(path, url.Values{"mode": {"ro"}, "immutable": {"1"}}))
	if err != nil {
		return ""
	}
	defer db.Close()
	var value string
	if db.QueryRowContext(ctx, "SELECT value FROM meta WHERE key = ?", key).Scan(&value) != nil {
		return ""
	}
	return value
}

// requireLog refuses a database whose write-ahead log, which holds its last
// commits, is missing or damaged.
func requireLog(ctx context.Context, path string) error {
	_, err := os.Stat(path + "-wal")
	if errors.Is(err, fs.ErrNotExist) && peek(ctx, path, metaOpen) == "1" {
		return refusal(path, "the node was killed and the write-ahead log of the state database, which holds its last commits, is gone",
			"put "+path+"-wal back; to go on without those commits, create it as an empty file")
	}
	err = checkWAL(path + "-wal")
	if errors.Is(err, errWAL) {
		return damaged(path, err.Error())
	}
	if err != nil {
		return fmt.Errorf("open state database: %w", err)
	}
	return nil
}

// requireSame refuses a database whose write-ahead log has made it another
// one; id is that of the main file alone.
func requireSame(ctx context.Context, db *sql.DB, path, id string) error {
	var now string
	err := run(ctx, db, func(tx *Tx) (err error) { now, _, err = tx.Meta(metaID); return err })
	if err != nil {
		return unreadable(path, err)
	}
	if id != "" && id != now {
		return damaged(path, "its write-ahead log is of another database")
	}
	return nil
}

// markOpen writes the mark into the main file before anything else is
// committed. A restored backup is not in WAL mode yet.
func markOpen(ctx context.Context, db *sql.DB) error {
	if _, err := db.ExecContext(ctx, "PRAGMA journal_mode = wal"); err != nil {
		return err
	}
	err := run(ctx, db, func(tx *Tx) error { return tx.PutMeta(metaOpen, "1") })
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)")
	return err
}
