package joblog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/ipdc/ipdc/jobspec"
)

// A log goes from one node to another as pieces: where each ends in the whole
// output (8 bytes, big-endian), a header, data. So a reader that has the
// beginning of it takes the rest, also when some was left out in between.

// maxPiece bounds the output in one piece, in bytes: a message holds two.
const maxPiece = 8 << 10

// Copy writes what is in the log at path now, behind the first from bytes of its
// output, to w as pieces. An error of w ends it.
func Copy(ctx context.Context, path string, from int64, w io.Writer) error {
	var b []byte
	return Read(ctx, path, from, false, func(end int64, h jobspec.LogHeader, data []byte) error {
		end -= int64(len(data))
		for part := range slices.Chunk(data, maxPiece) {
			h.Len, end = uint32(len(part)), end+int64(len(part))
			b = append(h.Append(binary.BigEndian.AppendUint64(b[:0], uint64(end))), part...)
			if _, err := w.Write(b); err != nil {
				return err
			}
		}
		return nil
	})
}

// Take adds the pieces that r has to the log, but for what is before the first
// from bytes of the output that they are of, and returns how far they go.
func (w *Writer) Take(r io.Reader, from int64) (end int64, err error) {
	for end = from; ; {
		var at [8]byte
		if _, err := io.ReadFull(r, at[:]); err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return end, err
		}
		h, err := jobspec.ReadLogHeader(r)
		if err != nil {
			return end, fmt.Errorf("read piece: %w", err)
		}
		data := make([]byte, h.Len)
		if _, err := io.ReadFull(r, data); err != nil {
			return end, fmt.Errorf("read piece: %w", err)
		}
		to := int64(binary.BigEndian.Uint64(at[:]))
		if to <= end {
			continue
		}
		if over := int64(len(data)) - (to - end); over > 0 {
			data = data[over:]
		}
		if _, err := (streamWriter{w, h.Stream}).Write(data); err != nil {
			return end, err
		}
		end = to
	}
}
