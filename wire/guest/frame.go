package guest

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// MaxFrame is how many bytes of a program one frame carries at most.
const MaxFrame = 64 << 10

// frameHead is the length of a frame's head in bytes: how many follow, as a
// big-endian number; 0 ends the direction.
const frameHead = 4

// SendFrames writes what r gives to w in frames, and the end when r ends with
// io.EOF. A relay on the way that dies cannot be taken for that end.
func SendFrames(w io.Writer, r io.Reader) error {
	buf := make([]byte, frameHead+MaxFrame)
	for {
		n, err := r.Read(buf[frameHead:])
		if n > 0 {
			binary.BigEndian.PutUint32(buf, uint32(n))
			if _, werr := w.Write(buf[:frameHead+n]); werr != nil {
				return werr
			}
		}
		if errors.Is(err, io.EOF) {
			_, err = w.Write(make([]byte, frameHead))
			return err
		}
		if err != nil {
			return err
		}
	}
}

// ReceiveFrames writes what frames of r carry to w. It returns nil at their
// end, and io.ErrUnexpectedEOF when r ends before.
func ReceiveFrames(w io.Writer, r io.Reader) error {
	br := bufio.NewReaderSize(r, frameHead+MaxFrame)
	for {
		head, err := br.Peek(frameHead)
		if err != nil {
			return cut(err)
		}
		left := int(binary.BigEndian.Uint32(head))
		switch _, _ = br.Discard(frameHead); {
		case left == 0:
			return nil
		case left > MaxFrame:
			return fmt.Errorf("a frame of %d bytes, more than %d", left, MaxFrame)
		}
		for left > 0 {
			if _, err := br.Peek(1); err != nil {
				return cut(err)
			}
			b, _ := br.Peek(min(left, br.Buffered()))
			if _, err := w.Write(b); err != nil {
				return err
			}
			_, _ = br.Discard(len(b))
			left -= len(b)
		}
	}
}

func cut(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
