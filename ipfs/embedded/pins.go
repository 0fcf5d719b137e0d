package embedded

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

// pinTable holds the pins.
type pinTable struct {
	db          *sql.DB
	set, delete *sql.Stmt
}

const pinSchema = `CREATE TABLE IF NOT EXISTS pins (
	name    TEXT PRIMARY KEY,
	root    TEXT NOT NULL,
	created INTEGER NOT NULL -- Unix nanoseconds
) STRICT, WITHOUT ROWID`

func openPins(ctx context.Context, path string) (*pinTable, error) {
	db, err := pindb.Open(ctx, path, pinSchema)
	if err != nil {
		return nil, err
	}
	t := &pinTable{db: db}
	if err := t.prepare(ctx); err != nil {
		return nil, fmt.Errorf("open pins: %w", errors.Join(err, db.Close()))
	}
	return t, nil
}

func (t *pinTable) prepare(ctx context.Context) error {
	for stmt, text := range map[**sql.Stmt]string{
		&t.set: `INSERT INTO pins (name, root, created) VALUES (?, ?, ?)
			ON CONFLICT (name) DO UPDATE SET root = excluded.root, created = excluded.created`,
		&t.delete: `DELETE FROM pins WHERE name = ?`,
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
	return pindb.List(ctx, n.pins.db, "pins", prefix)
}
