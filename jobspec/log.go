package jobspec

import (
	"encoding/binary"
	"fmt"
	"io"
)

// LogHeader precedes each chunk of a job's log in its files:
// stream (1 byte: 1 stdout, 2 stderr), task index (4 bytes), length of the
// chunk (4 bytes), big-endian.
type LogHeader struct {
	Stream LogStream
	Task   uint32
	Len    uint32 // at most 64 KiB
}

// LogStream is a program's output stream.
type LogStream uint8

// The streams.
const (
	LogStdout LogStream = 1
	LogStderr LogStream = 2
)

// LogHeaderSize is the size of an encoded LogHeader in bytes, and MaxLogChunk
// the largest chunk.
const (
	LogHeaderSize = 9
	MaxLogChunk   = 64 << 10
)

// Append adds the encoded header to b.
func (h LogHeader) Append(b []byte) []byte {
	b = append(b, byte(h.Stream))
	b = binary.BigEndian.AppendUint32(b, h.Task)
	return binary.BigEndian.AppendUint32(b, h.Len)
}

// ReadLogHeader reads the next header. io.EOF means a clean end. A stream or
// a length that cannot be is refused, so that a damaged file makes no large
// allocation.
func ReadLogHeader(r io.Reader) (LogHeader, error) {
	var b [LogHeaderSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return LogHeader{}, err
	}
	h := LogHeader{LogStream(b[0]), binary.BigEndian.Uint32(b[1:]), binary.BigEndian.Uint32(b[5:])}
	if (h.Stream != LogStdout && h.Stream != LogStderr) || h.Len > MaxLogChunk {
		return LogHeader{}, fmt.Errorf("log frame with stream %d and %d bytes", h.Stream, h.Len)
	}
	return h, nil
}
