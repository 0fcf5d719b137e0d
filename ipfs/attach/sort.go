package attach

import (
	"bufio"
	"bytes"
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/multiformats/go-multihash"
)

// entry is where a block lies, as bytes that sort as the index does: the hash
// function, the length of a record, the digest, the offset. All but the digest
// are big-endian.
type entry []byte

const (
	entryHead = 8 + 4 // of an entry, before the digest
	offsetLen = 8     // of an entry, behind it
)

func appendEntry(b []byte, h *multihash.DecodedMultihash, offset int64) []byte {
	b = binary.BigEndian.AppendUint64(b, h.Code)
	b = binary.BigEndian.AppendUint32(b, uint32(len(h.Digest)+offsetLen))
	b = append(b, h.Digest...)
	return binary.BigEndian.AppendUint64(b, uint64(offset))
}

func (e entry) code() uint64   { return binary.BigEndian.Uint64(e) }
func (e entry) width() uint32  { return binary.BigEndian.Uint32(e[8:]) }
func (e entry) digest() []byte { return e[entryHead : len(e)-offsetLen] }
func (e entry) offset() uint64 { return binary.BigEndian.Uint64(e[len(e)-offsetLen:]) }

// sameBlock says whether two entries are of the same bytes.
func (e entry) sameBlock(f entry) bool {
	return len(e) == len(f) && bytes.Equal(e[:len(e)-offsetLen], f[:len(f)-offsetLen])
}

// sorter sorts any number of entries with a fixed amount of memory: full
// buffers go to files, which are merged in the end.
type sorter struct {
	dir   string // of the files; whoever made it removes it
	size  int    // of the buffer
	buf   []byte // entries, each behind its length in 2 bytes
	at    []int  // where they begin
	runs  []*os.File
	count int64
}

// sortBuffer is 600,000 entries.
const sortBuffer = 32 << 20

func newSorter(dir string) *sorter { return &sorter{dir: dir, size: sortBuffer} }

func (s *sorter) add(h *multihash.DecodedMultihash, offset int64) error {
	at := len(s.buf)
	s.buf = appendEntry(append(s.buf, 0, 0), h, offset)
	binary.BigEndian.PutUint16(s.buf[at:], uint16(len(s.buf)-at-2))
	s.at = append(s.at, at)
	s.count++
	if len(s.buf) < s.size {
		return nil
	}
	return s.spill()
}

func (s *sorter) entry(at int) entry {
	return s.buf[at+2 : at+2+int(binary.BigEndian.Uint16(s.buf[at:]))]
}

// spill writes what is in memory to a file, in order.
func (s *sorter) spill() error {
	slices.SortFunc(s.at, func(a, b int) int { return bytes.Compare(s.entry(a), s.entry(b)) })
	f, err := os.Create(filepath.Join(s.dir, fmt.Sprintf("run-%d", len(s.runs))))
	if err != nil {
		return fmt.Errorf("sort index: %w", err)
	}
	s.runs = append(s.runs, f)
	w := bufio.NewWriterSize(f, 256<<10)
	for _, at := range s.at {
		_, _ = w.Write(s.buf[at : at+2+len(s.entry(at))]) // Flush returns the error
	}
	s.buf, s.at = s.buf[:0], s.at[:0]
	if err := w.Flush(); err != nil {
		return fmt.Errorf("sort index: %w", err)
	}
	_, err = f.Seek(0, io.SeekStart)
	return err
}

// close gives the files back.
func (s *sorter) close() error {
	var errs []error
	for _, f := range s.runs {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// each calls do for all entries in order, one of each block: that with the
// smallest offset. An entry is good until do returns.
func (s *sorter) each(do func(entry) error) error {
	if len(s.at) > 0 {
		if err := s.spill(); err != nil {
			return err
		}
	}
	s.buf, s.at = nil, nil
	var h runHeap
	for _, f := range s.runs {
		r := &run{r: bufio.NewReaderSize(f, 64<<10)}
		if err := r.next(); err != nil {
			return err
		}
		h = append(h, r)
	}
	heap.Init(&h)
	var last entry
	for len(h) > 0 {
		r := h[0]
		if !r.now.sameBlock(last) {
			last = append(last[:0], r.now...)
			if err := do(last); err != nil {
				return err
			}
		}
		err := r.next()
		if errors.Is(err, io.EOF) {
			heap.Pop(&h)
			continue
		}
		if err != nil {
			return err
		}
		heap.Fix(&h, 0)
	}
	return nil
}

// run is a sorted file and its next entry.
type run struct {
	r   *bufio.Reader
	now entry
}

func (r *run) next() error {
	var n [2]byte
	if _, err := io.ReadFull(r.r, n[:]); err != nil {
		return err
	}
	size := int(binary.BigEndian.Uint16(n[:]))
	r.now = slices.Grow(r.now[:0], size)[:size]
	_, err := io.ReadFull(r.r, r.now)
	return err
}

type runHeap []*run

func (h runHeap) Len() int           { return len(h) }
func (h runHeap) Less(i, j int) bool { return bytes.Compare(h[i].now, h[j].now) < 0 }
func (h runHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *runHeap) Push(x any)        { *h = append(*h, x.(*run)) }
func (h *runHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}
