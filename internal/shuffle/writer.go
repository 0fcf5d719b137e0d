package shuffle

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
)

// Kind says what the records of a run are.
type Kind byte

// The kinds.
const (
	Lines  Kind = 'L' // whole lines, without their ends
	Frames Kind = 'F' // keys and values
)

// String names the kind as users do.
func (k Kind) String() string {
	switch k {
	case Lines:
		return "lines"
	case Frames:
		return "frames"
	}
	return fmt.Sprintf("kind %q", byte(k))
}

const (
	magic      = "IPDCRUN1"
	headerSize = 20
	blockSize  = 64 << 10 // a payload that has so many bytes is written
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Writer writes a run. Records must come sorted.
type Writer struct {
	w     io.Writer
	kind  Kind
	part  uint32
	total uint64 // records in blocks that are written
	begun bool
	bytes int64

	block      []byte // header and payload
	records    uint32 // in block
	key, value []byte // of the last record; within block
	count      uint64
	countAt    int // where its count stands in block
}

// NewWriter returns a writer of a run of the given kind to w. Each block is
// one write.
func NewWriter(w io.Writer, kind Kind) *Writer {
	return &Writer{w: w, kind: kind, block: make([]byte, headerSize, headerSize+blockSize+4<<10)}
}

// Reset makes w as new, writing to out, with its buffers kept.
func (w *Writer) Reset(out io.Writer) {
	*w = Writer{w: out, kind: w.kind, block: w.block[:headerSize]}
}

// Add appends count equal records of a partition.
func (w *Writer) Add(part int, key, value []byte, count uint64) error {
	same := false
	if w.records > 0 {
		same = uint32(part) == w.part && bytes.Equal(key, w.key)
		if same && bytes.Equal(value, w.value) {
			w.count += count
			w.block = binary.AppendUvarint(w.block[:w.countAt], w.count)
			return nil
		}
		if uint32(part) != w.part || len(w.block) >= headerSize+blockSize {
			if err := w.flush(); err != nil {
				return err
			}
			same = false
		}
	}
	w.part = uint32(part)
	w.append(key, value, count, same)
	return nil
}

func (w *Writer) append(key, value []byte, count uint64, same bool) {
	b := w.block
	if same {
		b = append(b, 0)
	} else {
		b = binary.AppendUvarint(b, uint64(len(key))+1)
	}
	b = binary.AppendUvarint(b, uint64(len(value)))
	at := len(b)
	if !same {
		b = append(b, key...)
	}
	end := len(b)
	b = append(b, value...)
	w.countAt, w.count = len(b), count
	w.block = binary.AppendUvarint(b, count)
	if same {
		// Where append has moved the block, key points into the old one,
		// which is as good.
		w.value = w.block[end:w.countAt]
	} else {
		w.key, w.value = w.block[at:end], w.block[end:w.countAt]
	}
	w.records++
}

// Close writes what is left and the end of the run. It does not close the
// writer below.
func (w *Writer) Close() error {
	if w.records > 0 {
		if err := w.flush(); err != nil {
			return err
		}
	}
	w.part = 0
	w.block = binary.LittleEndian.AppendUint64(w.block[:headerSize], w.total)
	return w.flush()
}

// Bytes returns how many bytes were written.
func (w *Writer) Bytes() int64 { return w.bytes }

// Records returns how many records the run has, runs of equal ones as one.
func (w *Writer) Records() uint64 { return w.total + uint64(w.records) }

func (w *Writer) flush() error {
	if !w.begun {
		w.begun = true
		if err := w.write(append([]byte(magic), byte(w.kind))); err != nil {
			return err
		}
	}
	h, payload := w.block[:headerSize], w.block[headerSize:]
	if uint64(len(payload)) > maxPayload {
		return fmt.Errorf("write run: a block of %d bytes is over the limit of %d", len(payload), uint64(maxPayload))
	}
	le := binary.LittleEndian
	le.PutUint32(h, w.part)
	le.PutUint32(h[4:], w.records)
	le.PutUint32(h[8:], uint32(len(payload)))
	le.PutUint32(h[12:], crc32.Checksum(payload, castagnoli))
	le.PutUint32(h[16:], crc32.Checksum(h[:16], castagnoli))
	err := w.write(w.block)
	w.total += uint64(w.records)
	w.records, w.block, w.key, w.value = 0, h, nil, nil
	return err
}

func (w *Writer) write(b []byte) error {
	n, err := w.w.Write(b)
	w.bytes += int64(n)
	if err != nil {
		return fmt.Errorf("write run: %w", err)
	}
	return nil
}
