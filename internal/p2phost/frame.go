package p2phost

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// MaxFrame is the size of the largest frame, in bytes, without its length.
const MaxFrame = 256 << 10

// WriteFrame writes b and its length before it in one call.
func WriteFrame(w io.Writer, b []byte) error {
	if len(b) > MaxFrame {
		return fmt.Errorf("a frame has at most %d bytes, this one %d", MaxFrame, len(b))
	}
	_, err := w.Write(append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(b)), uint32(len(b))), b...))
	return err
}

// ReadFrame reads what WriteFrame wrote. A frame over limit, or over MaxFrame,
// is refused before anything is kept for it; memory grows with what has come.
// The caller sets a deadline on r: who sends half a frame and no more is waited
// for until then.
func ReadFrame(r io.Reader, limit int) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := int64(binary.BigEndian.Uint32(head[:]))
	if n > int64(min(limit, MaxFrame)) {
		return nil, fmt.Errorf("a frame of %d bytes; at most %d are allowed", n, min(limit, MaxFrame))
	}
	var b bytes.Buffer
	if _, err := io.CopyN(&b, r, n); err != nil {
		return nil, fmt.Errorf("frame of %d bytes: %w", n, noEOF(err))
	}
	return b.Bytes(), nil
}

// noEOF tells a frame that was cut from the end between two frames.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
