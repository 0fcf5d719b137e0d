package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/ipdc/ipdc/jobspec"
)

// Tx is the transaction of one Update or View. It is used by one goroutine and
// only until its function returns.
type Tx struct {
	ctx context.Context
	tx  *sql.Tx
}

func (tx *Tx) exec(query string, args ...any) error {
	_, err := tx.tx.ExecContext(tx.ctx, query, args...)
	return err
}

// put inserts or replaces the row of a table whose sealed columns have these
// values. A row of a job that is not there is refused with E_NOT_FOUND.
func (tx *Tx) put(t table, values ...any) error {
	cols := t.sealed()
	set := make([]string, 0, len(t.cols)+1)
	for _, c := range append(t.cols[:len(t.cols):len(t.cols)], "sum") {
		set = append(set, c+" = excluded."+c)
	}
	query := fmt.Sprintf("INSERT INTO %s (%s, sum) VALUES (?%s) ON CONFLICT (%s) DO UPDATE SET %s", t.name,
		strings.Join(cols, ", "), strings.Repeat(", ?", len(cols)), strings.Join(t.key, ", "), strings.Join(set, ", "))
	err := tx.exec(query, append(values, seal(values))...)
	if sqliteCode(err) == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY {
		return jobspec.KindNotFound.Errorf("there is no such job")
	}
	return err
}

// get scans the one row of a query; without a row the error is of kind
// E_NOT_FOUND and names what was looked for.
func (tx *Tx) get(dest []any, what any, query string, args ...any) error {
	err := tx.tx.QueryRowContext(tx.ctx, query, args...).Scan(dest...)
	if errors.Is(err, sql.ErrNoRows) {
		return jobspec.KindNotFound.Errorf("there is no %v", what)
	}
	return err
}

// each calls row after each row of a query was scanned into dest.
func (tx *Tx) each(dest []any, row func() error, query string, args ...any) error {
	rows, err := tx.tx.QueryContext(tx.ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return err
		}
		if err := row(); err != nil {
			return err
		}
	}
	return rows.Err()
}

func encode(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(b), err
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
