package kubo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/internal/pindb"
	"github.com/ipdc/ipdc/jobspec"
)

// pinTable holds our names, and the roots whose labels may be pinned in Kubo.
type pinTable struct{ db *sql.DB }

// A root without a name is one whose pin is to be taken off: it was being
// pinned when the process died, or its last name is gone.
const pinSchema = `
CREATE TABLE IF NOT EXISTS roots (
	root   TEXT PRIMARY KEY,
	pinned INTEGER NOT NULL, -- 1 once Kubo has answered
	blocks INTEGER NOT NULL,
	bytes  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS names (
	name    TEXT PRIMARY KEY,
	root    TEXT NOT NULL REFERENCES roots (root),
	created INTEGER NOT NULL -- Unix nanoseconds
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS names_root ON names (root);`

func openPins(ctx context.Context, path string) (*pinTable, error) {
	db, err := pindb.Open(ctx, path, pinSchema)
	if err != nil {
		return nil, err
	}
	return &pinTable{db}, nil
}

func (t *pinTable) close() error { return t.db.Close() }

// intend notes that root is about to be pinned, unless it is noted already, and
// reports whether it was pinned.
func (t *pinTable) intend(ctx context.Context, root jobspec.CID) (pinned bool, err error) {
	_, err = t.db.ExecContext(ctx, `INSERT INTO roots VALUES (?, 0, 0, 0) ON CONFLICT DO NOTHING`, root.String())
	if err == nil {
		err = t.db.QueryRowContext(ctx, `SELECT pinned FROM roots WHERE root = ?`, root.String()).Scan(&pinned)
	}
	if err != nil {
		return false, fmt.Errorf("note pin of %s: %w", root, err)
	}
	return pinned, nil
}

// pinned returns what was counted below a root, and whether it was pinned.
func (t *pinTable) pinned(ctx context.Context, root jobspec.CID) (st ipfs.Stat, pinned bool, err error) {
	err = t.db.QueryRowContext(ctx, `SELECT pinned, blocks, bytes FROM roots WHERE root = ?`, root.String()).
		Scan(&pinned, &st.Blocks, &st.Bytes)
	if errors.Is(err, sql.ErrNoRows) {
		return st, false, nil
	}
	if err != nil {
		return st, false, fmt.Errorf("look for pin of %s: %w", root, err)
	}
	return st, pinned, nil
}

// name notes that root is pinned, and gives it a name.
func (t *pinTable) name(ctx context.Context, name string, root jobspec.CID, st ipfs.Stat) error {
	tx, err := t.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("write pin %q: %w", name, err)
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it does nothing
	_, err = tx.ExecContext(ctx, `UPDATE roots SET pinned = 1, blocks = ?, bytes = ? WHERE root = ?`, st.Blocks, st.Bytes, root.String())
	if err == nil {
		_, err = tx.ExecContext(ctx, `INSERT INTO names VALUES (?, ?, ?)
			ON CONFLICT (name) DO UPDATE SET root = excluded.root, created = excluded.created`, name, root.String(), time.Now().UnixNano())
	}
	if err == nil {
		err = tx.Commit()
	}
	if err != nil {
		return fmt.Errorf("write pin %q: %w", name, err)
	}
	return nil
}

func (t *pinTable) unname(ctx context.Context, name string) error {
	if _, err := t.db.ExecContext(ctx, `DELETE FROM names WHERE name = ?`, name); err != nil {
		return fmt.Errorf("remove pin %q: %w", name, err)
	}
	return nil
}

// unnamed returns the roots that no name holds.
func (t *pinTable) unnamed(ctx context.Context) ([]jobspec.CID, error) {
	return t.roots(ctx, `SELECT root FROM roots WHERE root NOT IN (SELECT root FROM names)`)
}

// named returns the roots that a name holds.
func (t *pinTable) named(ctx context.Context) ([]jobspec.CID, error) {
	return t.roots(ctx, `SELECT DISTINCT root FROM names ORDER BY root`)
}

func (t *pinTable) roots(ctx context.Context, query string) (list []jobspec.CID, err error) {
	rows, err := t.db.QueryContext(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("list pinned roots: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, fmt.Errorf("list pinned roots: %w", err)
		}
		c, err := jobspec.ParseCID(text)
		if err != nil {
			return nil, fmt.Errorf("list pinned roots: %w", err)
		}
		list = append(list, c)
	}
	return list, rows.Err()
}

// forget removes a root that has no name and whose pin is off.
func (t *pinTable) forget(ctx context.Context, root jobspec.CID) error {
	if _, err := t.db.ExecContext(ctx, `DELETE FROM roots WHERE root = ?`, root.String()); err != nil {
		return fmt.Errorf("forget pin of %s: %w", root, err)
	}
	return nil
}

// lost notes that Kubo does not pin a root any more.
func (t *pinTable) lost(ctx context.Context, root jobspec.CID) error {
	if _, err := t.db.ExecContext(ctx, `UPDATE roots SET pinned = 0 WHERE root = ?`, root.String()); err != nil {
		return fmt.Errorf("note lost pin of %s: %w", root, err)
	}
	return nil
}

func (t *pinTable) stat(ctx context.Context) (st ipfs.Stat, err error) {
	err = t.db.QueryRowContext(ctx, `SELECT coalesce(sum(blocks), 0), coalesce(sum(bytes), 0)
		FROM roots WHERE root IN (SELECT root FROM names)`).Scan(&st.Blocks, &st.Bytes)
	if err != nil {
		return st, fmt.Errorf("count pinned blocks: %w", err)
	}
	return st, nil
}
