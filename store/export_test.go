package store

import (
	"context"
	"io/fs"
	"log/slog"
)

// OpenWith is Open as a program with other migrations has it.
func OpenWith(ctx context.Context, path string, migrations fs.FS) (*Store, error) {
	return open(ctx, path, slog.New(slog.DiscardHandler), migrations)
}

// Migrations are those of this program.
var Migrations fs.FS = migrationFiles
