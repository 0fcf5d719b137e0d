package stock

import (
	"context"
	"io"
	"time"
)

// Pack is pack, for tests that bring a root of their own.
var Pack = pack

// IsDropped is isDropped.
var IsDropped = isDropped

// WriteLayer writes the layer of a root's tar to w.
func WriteLayer(ctx context.Context, w io.Writer, root io.ReadSeeker, mtime time.Time) error {
	l, err := readLayer(ctx, root, mtime)
	if err != nil {
		return err
	}
	return l.writeTo(w)
}
