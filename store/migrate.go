package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"strconv"
	"strings"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/ipdc/ipdc/internal/failpoint"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// upgrade checks an existing database and brings it to the newest version,
// with a backup before the first change.
func upgrade(ctx context.Context, db *sql.DB, path string, migrations fs.FS, log *slog.Logger) error {
	var app, version int
	row := db.QueryRowContext(ctx, "SELECT application_id, user_version FROM pragma_application_id, pragma_user_version")
	if err := row.Scan(&app, &version); err != nil {
		return unreadable(path, err)
	}
	if app != applicationID {
		return refusal(path, "this SQLite file is not a state database of ipdc", "name another state directory")
	}
	newest, err := newestVersion(migrations)
	if err != nil {
		return err
	}
	if version > newest {
		return refusal(path, fmt.Sprintf("the state database has version %d, this program knows up to %d", version, newest),
			"use the newer ipdc that wrote it, or restore a backup made before the upgrade")
	}
	if err := checkPages(ctx, db); err != nil {
		return unreadable(path, err)
	}
	if version < newest {
		if err := backup(ctx, db, fmt.Sprintf("%s.v%d.bak", path, version)); err != nil {
			return fmt.Errorf("back up state database %s before an upgrade: %w", path, err)
		}
		log.Info("upgrade state database", "path", path, "from", version, "to", newest)
		if err := migrate(ctx, db, migrations, version); err != nil {
			return fmt.Errorf("upgrade state database %s: %w", path, err)
		}
	}
	if err := checkRows(ctx, db); err != nil {
		return unreadable(path, err)
	}
	return nil
}

// backup writes a whole copy of the database to the file dest.
func backup(ctx context.Context, db *sql.DB, dest string) error {
	tmp := dest + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_EXCL, 0o600) // VACUUM INTO takes an empty file and keeps its mode
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if _, err := db.ExecContext(ctx, "VACUUM INTO ?", tmp); err != nil {
		return err
	}
	copied, err := dial(tmp, 1, false)
	if err != nil {
		return err
	}
	err = run(ctx, copied, func(tx *Tx) error { return tx.PutMeta(metaOpen, "0") })
	if err = errors.Join(err, copied.Close()); err != nil {
		return err
	}
	return publish(tmp, dest)
}

// migrate runs the migrations after version, each in a transaction that also
// sets the new version.
func migrate(ctx context.Context, db *sql.DB, migrations fs.FS, version int) error {
	newest, err := newestVersion(migrations)
	if err != nil {
		return err
	}
	for v := version + 1; v <= newest; v++ {
		script, err := migrationScript(migrations, v)
		if err != nil {
			return err
		}
		err = run(ctx, db, func(tx *Tx) error {
			if err := tx.exec(script); err != nil {
				return err
			}
			if err := failpoint.Hit("store.migrate.before-commit"); err != nil {
				return err
			}
			return tx.exec(fmt.Sprintf("PRAGMA user_version = %d", v))
		})
		if err != nil {
			return fmt.Errorf("migration %d: %w", v, err)
		}
	}
	return nil
}

func migrationScript(migrations fs.FS, v int) (string, error) {
	names, err := fs.Glob(migrations, fmt.Sprintf("migrations/%04d_*.sql", v))
	if err != nil || len(names) != 1 {
		return "", fmt.Errorf("migration %d: %d files, want 1: %w", v, len(names), err)
	}
	b, err := fs.ReadFile(migrations, names[0])
	return string(b), err
}

func newestVersion(migrations fs.FS) (int, error) {
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil || len(names) == 0 {
		return 0, fmt.Errorf("no migrations: %w", err)
	}
	number, _, _ := strings.Cut(path.Base(names[len(names)-1]), "_")
	return strconv.Atoi(number)
}

// unreadable turns what SQLite or a check found into a refusal. What is no
// damage, such as a full disk, stays as it is.
func unreadable(path string, err error) error {
	switch sqliteCode(err) & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return inUse(path)
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERRUPT:
		return fmt.Errorf("open state database %s: %w", path, err)
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("open state database %s: %w", path, err)
	}
	return damaged(path, err.Error())
}

func damaged(path, detail string) error {
	return refusal(path, "the state database is damaged: "+detail,
		"restore it from a backup, or move it away to start empty; results stay pinned in the block store")
}
