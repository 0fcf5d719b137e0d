package embedded

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

// pinTable holds the pins. synchronous=FULL makes each of its statements
// durable when it returns, which synchronous=NORMAL would not in WAL mode.
type pinTable struct {
	db                *sql.DB
	set, delete, list *sql.Stmt
}

const pinSchema = `CREATE TABLE IF NOT EXISTS pins (
	name    TEXT PRIMARY KEY,
	root    TEXT NOT NULL,
	created INTEGER NOT NULL -- Unix nanoseconds
) STRICT, WITHOUT ROWID`

func openPins(ctx context.Context, path string) (*pinTable, error) {
	u := url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: url.Values{
		"_pragma": {"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)"},
	}.Encode()}
	db, err := sql.Open("sqlite", u.String())
	if err != nil {
		return nil, fmt.Errorf("open pins: %w", err)
	}
	// One connection: SQLite has one writer, and reads here are short.
	db.SetMaxOpenConns(1)
	t := &pinTable{db: db}
	if err := t.prepare(ctx); err != nil {
		return nil, fmt.Errorf("open pins: %w", errors.Join(err, db.Close()))
	}
	return t, nil
}

func (t *pinTable) prepare(ctx context.Context) error {
	if _, err := t.db.ExecContext(ctx, pinSchema); err != nil {
		return err
	}
	for stmt, text := range map[**sql.Stmt]string{
		&t.set: `INSERT INTO pins (name, root, created) VALUES (?, ?, ?)
			ON CONFLICT (name) DO UPDATE SET root = excluded.root, created = excluded.created`,
		&t.delete: `DELETE FROM pins WHERE name = ?`,
		// U+10FFFF sorts after every other character.
		&t.list: `SELECT name, root, created FROM pins
			WHERE name >= ?1 AND name < ?1 || char(1114111) ORDER BY name`,
	} {
		var err error
		if *stmt, err = t.db.PrepareContext(ctx, text); err != nil {
			return err
		}
	}
	return nil
}

func (t *pinTable) close() error { return t.db.Close() }

// put writes a pin. A ctx that ends meanwhile does not leave it open whether
// the pin was written.
func (t *pinTable) put(ctx context.Context, name string, root jobspec.CID) error {
	if name == "" {
		return errors.New("a pin needs a name")
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	_, err := t.set.ExecContext(context.WithoutCancel(ctx), name, root.String(), time.Now().UnixNano())
	if err != nil {
		return fmt.Errorf("write pin %q: %w", name, err)
	}
	return nil
}

// Unpin implements ipfs.Node.
func (n *Node) Unpin(ctx context.Context, name string) error {
	if _, err := n.pins.delete.ExecContext(ctx, name); err != nil {
		return fmt.Errorf("remove pin %q: %w", name, err)
	}
	return nil
}

// Pins implements ipfs.Node.
func (n *Node) Pins(ctx context.Context, prefix string) ([]ipfs.Pin, error) {
	rows, err := n.pins.list.QueryContext(ctx, prefix)
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
