package store

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"os"
)

// Sizes and fields of SQLite's write-ahead log; see "WAL File Format" in
// https://www.sqlite.org/fileformat2.html.
const (
	walHeaderSize   = 32
	walFrameHeader  = 24
	walMagicLittle  = 0x377f0682 // checksums over little-endian words
	walMagicBig     = 0x377f0683
	walPageSizeMax  = 1 << 16
	walSaltFrom     = 16 // of the log header
	walFrameSalt    = 8  // of a frame header; its checksum follows the salt
	walChecksumSize = 8
)

var errWAL = errors.New("its write-ahead log is damaged: commits that were acknowledged are lost")

// checkWAL looks for damage that SQLite takes for the end of the log: it
// ignores all frames from the first bad one on. A power loss can leave bad
// frames too, but only those of the one transaction that was not yet
// acknowledged. An absent or empty log is sound.
func checkWAL(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 1<<16)
	head := make([]byte, walHeaderSize)
	if _, err := io.ReadFull(r, head); err != nil {
		return ended(err)
	}
	w, ok := newWALReader(head)
	if !ok {
		return errWAL
	}
	commits := 0 // of this log's generation behind the first bad frame
	frame := make([]byte, walFrameHeader+w.pageSize)
	for {
		if _, err := io.ReadFull(r, frame); err != nil {
			return ended(err)
		}
		if commit := w.next(frame); commit && w.bad {
			if commits++; commits > 1 {
				return errWAL
			}
		}
	}
}

// ended turns the end of the file, in whatever place, into no error.
func ended(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return nil
	}
	return err
}

type walReader struct {
	order    binary.ByteOrder
	salt     [8]byte
	sum      [2]uint32
	pageSize int
	bad      bool // a frame did not match its checksum
}

func newWALReader(head []byte) (*walReader, bool) {
	w := &walReader{order: binary.LittleEndian, pageSize: int(binary.BigEndian.Uint32(head[8:]))}
	magic := binary.BigEndian.Uint32(head)
	if magic == walMagicBig {
		w.order = binary.BigEndian
	}
	copy(w.salt[:], head[walSaltFrom:])
	body := head[:walHeaderSize-walChecksumSize]
	w.add(body)
	ok := (magic == walMagicLittle || magic == walMagicBig) && w.matches(head[len(body):]) &&
		w.pageSize >= 512 && w.pageSize <= walPageSizeMax
	return w, ok
}

// next checks one frame and says whether it ends a transaction of this log.
// Frames of an earlier use of the file have another salt.
func (w *walReader) next(frame []byte) (commit bool) {
	ours := [8]byte(frame[walFrameSalt:]) == w.salt
	w.add(frame[:walFrameSalt])
	w.add(frame[walFrameHeader:])
	if !ours || !w.matches(frame[walFrameSalt+len(w.salt):]) {
		w.bad = true
	}
	return ours && binary.BigEndian.Uint32(frame[4:]) != 0
}

func (w *walReader) add(b []byte) {
	if w.bad {
		return
	}
	for ; len(b) >= 8; b = b[8:] {
		w.sum[0] += w.order.Uint32(b) + w.sum[1]
		w.sum[1] += w.order.Uint32(b[4:]) + w.sum[0]
	}
}

func (w *walReader) matches(sum []byte) bool {
	return !w.bad && binary.BigEndian.Uint32(sum) == w.sum[0] && binary.BigEndian.Uint32(sum[4:]) == w.sum[1]
}
