// Package pindb opens the SQLite files in which the adapters of ipfs.Node keep
// the names of pins, and lists those.
//
//	db, err := pindb.Open(ctx, path, schema)
//	pins, err := pindb.List(ctx, db, "pins", "job/")
//
// Invariant: a statement is durable when it has returned.
package pindb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/jobspec"
)

// Open opens or creates the file and executes schema. synchronous=FULL makes
// each statement durable, which synchronous=NORMAL would not in WAL mode.
func Open(ctx context.Context, path, schema string) (*sql.DB, error) {
	u := url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: url.Values{
		"_pragma": {"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)"},
	}.Encode()}
	db, err := sql.Open("sqlite", u.String())
	if err != nil {
		return nil, fmt.Errorf("open pins: %w", err)
	}
	db.SetMaxOpenConns(1) // SQLite has one writer, and reads here are short
	if _, err := db.ExecContext(ctx, schema); err != nil {
		return nil, fmt.Errorf("open pins: %w", errors.Join(err, db.Close()))
	}
	return db, nil
}

// List returns the pins whose name begins with prefix, by name, from a table
// with the columns name, root, and created in Unix nanoseconds.
func List(ctx context.Context, db *sql.DB, table, prefix string) ([]ipfs.Pin, error) {
	// U+10FFFF sorts after every other character.
	rows, err := db.QueryContext(ctx, `SELECT name, root, created FROM `+table+`
		WHERE name >= ?1 AND name < ?1 || char(1114111) ORDER BY name`, prefix)
	if err != nil {
		return nil, fmt.Errorf("list pins: %w", err)
	}
	defer rows.Close()
	var pins []ipfs.Pin
	for rows.Next() {
		var p ipfs.Pin
		var root string
		var created int64
		if err := rows.Scan(&p.Name, &root, &created); err != nil {
			return nil, fmt.Errorf("list pins: %w", err)
		}
		if p.Root, err = jobspec.ParseCID(root); err != nil {
			return nil, fmt.Errorf("list pins: pin %q: %w", p.Name, err)
		}
		p.Created = time.Unix(0, created).UTC()
		pins = append(pins, p)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list pins: %w", err)
	}
	return pins, nil
}
