package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"sync"
	"sync/atomic"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/ipdc/ipdc/jobspec"
)

// readers is how many Views run at the same time; more of them wait.
const readers = 4

// Store is an open state database. All methods are safe for concurrent use.
type Store struct {
	path   string
	log    *slog.Logger
	lock   *os.File
	writer *sql.DB // one connection
	reader *sql.DB
	broken atomic.Pointer[error] // the first write error that is never retried

	closing  sync.Once
	closeErr error
}

// Update runs fn in one write transaction and returns nil once it is durable
// (fsync). An error of fn undoes everything fn wrote and is returned as it is.
// Updates run one after the other; ctx bounds the wait for the turn only, so
// that a transaction is never cut in its middle. Calling Update or View within
// fn deadlocks.
//
// A full disk gives an error of kind E_LIMIT and later Updates may succeed.
// After a failed write or fsync the store takes no more Updates, because what
// the disk holds is unknown until the database is opened again.
func (s *Store) Update(ctx context.Context, fn func(*Tx) error) error {
	if p := s.broken.Load(); p != nil {
		return *p
	}
	return s.judge(run(ctx, s.writer, fn))
}

// View runs fn in a read transaction, which sees the state of one instant.
// Writing in it fails. ctx bounds the wait for one of the readers.
func (s *Store) View(ctx context.Context, fn func(*Tx) error) error {
	return run(ctx, s.reader, fn)
}

func run(ctx context.Context, db *sql.DB, fn func(*Tx) error) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("wait for the state database: %w", err)
	}
	defer conn.Close()
	ctx = context.WithoutCancel(ctx)
	stx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin transaction: %w", err)
	}
	defer stx.Rollback() // after Commit it does nothing; fn may have panicked
	if err := fn(&Tx{ctx: ctx, tx: stx}); err != nil {
		return err
	}
	if err := stx.Commit(); err != nil {
		conn.ExecContext(ctx, "ROLLBACK") // fails when SQLite has done it already
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// judge decides what a failed Update means for later ones.
func (s *Store) judge(err error) error {
	switch code := sqliteCode(err) & 0xff; code {
	case sqlite3.SQLITE_FULL:
		f := jobspec.Failure{Kind: jobspec.KindLimit, Detail: "the disk of the state database is full: " + err.Error(), Hint: "free space on the disk of " + s.path}
		return f.Error()
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		err = refusal(s.path, fmt.Sprintf("a write failed, nothing more is written: %v", err), "check the disk, then start the node again")
		if s.broken.CompareAndSwap(nil, &err) {
			s.log.Error("state database", "path", s.path, "err", err)
		}
	}
	return err
}

// Close ends the store; calling it twice is safe. It waits for running
// transactions.
func (s *Store) Close() error {
	s.closing.Do(func() {
		var mark error
		if s.broken.Load() == nil {
			mark = run(context.Background(), s.writer, func(tx *Tx) error { return tx.PutMeta(metaOpen, "0") })
		}
		s.closeErr = errors.Join(mark, s.reader.Close(), s.writer.Close(), s.lock.Close())
	})
	return s.closeErr
}

// dial returns a pool of conns connections to the database at path. query_only
// is set for readers.
func dial(path string, conns int, queryOnly bool) (*sql.DB, error) {
	q := url.Values{"_txlock": {"immediate"}, "_pragma": {
		"busy_timeout(1500)", "foreign_keys(1)", "synchronous(full)", "journal_size_limit(16777216)",
	}}
	if queryOnly {
		q.Set("_txlock", "deferred")
		q.Add("_pragma", "query_only(1)")
	}
	db, err := sql.Open("sqlite", dsn(path, q))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db, nil
}

// dsn escapes what SQLite would read as its own syntax in a path.
func dsn(path string, q url.Values) string {
	return (&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String()
}

// sqliteCode returns the extended result code in err, or 0.
func sqliteCode(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code()
	}
	return 0
}

// refusal is the error for a database that cannot be used as it is.
func refusal(path, detail, hint string) error {
	return jobspec.Failure{Kind: jobspec.KindInternal, Where: path, Detail: detail + "; " + hint, Hint: hint}.Error()
}
