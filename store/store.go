package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"sync"
	"sync/atomic"

	"github.com/ipdc/ipdc/jobspec"
	"modernc.org/sqlite"
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
	anchor driver.Conn           // see Close
	broken atomic.Pointer[error] // the first write error that is never retried
	stop   chan struct{}         // closed when broken is set
	odd    atomic.Bool           // the last Update met a write that failed on a disk that took another one at once
	ill    atomic.Pointer[error] // how the last Update ended, as far as the disk is concerned

	closing  sync.Once
	closeErr error
}

// Update runs fn in one write transaction and returns nil once it is durable
// (fsync). An error of fn undoes everything fn wrote and is returned as it is.
// Updates run one after the other; ctx bounds the wait for the turn only, so
// that a transaction is never cut in its middle. Calling Update or View within
// fn deadlocks.
//
// A disk that is full or read-only gives an [ErrDisk] of kind E_QUOTA, and later
// Updates may succeed. After any other failed write, or fsync, the store takes
// no more Updates, because what the disk holds is unknown until the database is
// opened again: they give an [ErrInDoubt]; see [Store.Run].
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

// Close ends the store; calling it twice is safe. It waits for running
// transactions.
//
// The last connection that closes moves the log into the main file and removes
// it. Where a write has failed the log must stay as it is, for the next Open to
// judge: the anchor is then left open, as by a process that is killed.
func (s *Store) Close() error {
	s.closing.Do(func() {
		var mark error
		if s.broken.Load() == nil {
			mark = s.judge(run(context.Background(), s.writer, func(tx *Tx) error { return tx.PutMeta(metaOpen, "0") }))
		}
		if s.broken.Load() == nil && mark == nil {
			mark = s.anchor.Close()
		}
		s.closeErr = errors.Join(mark, s.reader.Close(), s.writer.Close(), s.lock.Close())
	})
	return s.closeErr
}

// hold opens the anchor, and all readers: later there may be no file left to
// open. A connection keeps its lock on a database once it has read from it.
func (s *Store) hold(ctx context.Context) (err error) {
	for range readers {
		conn, err := s.reader.Conn(ctx)
		if err != nil {
			return err
		}
		defer conn.Close() // back into the pool
	}
	if s.anchor, err = s.reader.Driver().Open(dsn(s.path, url.Values{"_pragma": {"query_only(1)"}})); err != nil {
		return err
	}
	rows, err := s.anchor.(driver.QueryerContext).QueryContext(ctx, "SELECT count(*) FROM meta", nil)
	if err != nil {
		return err
	}
	return rows.Close()
}

// dial returns a pool of conns connections to the database at path. query_only
// is set for readers.
func dial(path string, conns int, queryOnly bool) (*sql.DB, error) {
	q := url.Values{"_txlock": {"immediate"}, "_pragma": {
		"busy_timeout(1500)", "foreign_keys(1)", "synchronous(full)", "temp_store(memory)", "journal_size_limit(16777216)",
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
