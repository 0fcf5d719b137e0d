package attach

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"

	"github.com/multiformats/go-multicodec"
	"github.com/multiformats/go-multihash"
	"github.com/multiformats/go-varint"
)

// An index is a file in the format of go-car's MultihashIndexSorted, which
// https://ipld.io/specs/transport/car/carv2/#format-0x0401-multihashindexsorted
// describes: for each hash function and length of digests a bucket of records,
// digest and offset, sorted by digest. It is written and looked up without
// being in memory.

// bucket is the records of one hash function and length.
type bucket struct {
	code  uint64
	width int   // of a record
	at    int64 // of the first one in the file
	count int64
	first int64 // number of its first record among those of all buckets

	// samples are the first 8 bytes of every stride-th digest.
	samples []uint64
}

// stride is how many records are read at once, behind a look at the samples:
// 1.3 MB of memory for ten million blocks.
const stride = 64

// writeIndex writes what s sorts, and returns how many blocks that is.
func writeIndex(f *os.File, s *sorter) (blocks int64, err error) {
	w := &indexWriter{f: f, w: bufio.NewWriterSize(f, 256<<10)}
	w.put(varint.ToUvarint(uint64(multicodec.CarMultihashIndexSorted)))
	w.codes = w.pos
	w.put(make([]byte, 4))
	err = s.each(func(e entry) error {
		w.add(e)
		blocks++
		return w.err
	})
	if err == nil {
		err = w.finish()
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return 0, fmt.Errorf("write index: %w", err)
	}
	return blocks, nil
}

// indexWriter writes buckets one behind the other, and the numbers of what is in
// each into the places that it left for them.
type indexWriter struct {
	f   *os.File
	w   *bufio.Writer
	pos int64
	err error

	codes, widths, length int64 // places of: number of codes, of widths of this code, bytes of this width
	nCodes, nWidths       uint32
	bytes                 uint64
	code                  uint64
	width                 uint32

	patches []patch
}

type patch struct {
	at   int64
	data []byte
}

func (w *indexWriter) put(b []byte) {
	if w.err == nil {
		_, w.err = w.w.Write(b)
	}
	w.pos += int64(len(b))
}

func (w *indexWriter) add(e entry) {
	if w.nCodes == 0 || e.code() != w.code {
		w.endCode()
		w.nCodes, w.code, w.nWidths = w.nCodes+1, e.code(), 0
		w.put(binary.LittleEndian.AppendUint64(nil, w.code))
		w.widths = w.pos
		w.put(make([]byte, 4))
	}
	if w.nWidths == 0 || e.width() != w.width {
		w.endWidth()
		w.nWidths, w.width, w.bytes = w.nWidths+1, e.width(), 0
		w.put(binary.LittleEndian.AppendUint32(nil, w.width))
		w.length = w.pos
		w.put(make([]byte, 8))
	}
	w.put(e.digest())
	w.put(binary.LittleEndian.AppendUint64(nil, e.offset()))
	w.bytes += uint64(w.width)
}

func (w *indexWriter) endWidth() {
	if w.nWidths > 0 {
		w.patches = append(w.patches, patch{w.length, binary.LittleEndian.AppendUint64(nil, w.bytes)})
	}
}

func (w *indexWriter) endCode() {
	if w.nCodes > 0 {
		w.endWidth()
		w.patches = append(w.patches, patch{w.widths, binary.LittleEndian.AppendUint32(nil, w.nWidths)})
	}
}

func (w *indexWriter) finish() error {
	w.endCode()
	w.patches = append(w.patches, patch{w.codes, binary.LittleEndian.AppendUint32(nil, w.nCodes)})
	if err := errors.Join(w.err, w.w.Flush()); err != nil {
		return err
	}
	for _, p := range w.patches {
		if _, err := w.f.WriteAt(p.data, p.at); err != nil {
			return err
		}
	}
	return nil
}

// index is an open index. It may be used concurrently.
type index struct {
	f       *os.File
	buckets []bucket
	blocks  int64
}

// openIndex opens an index that this package wrote.
func openIndex(path string) (*index, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open index: %w", err)
	}
	x := &index{f: f}
	if err := x.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("open index %s: %w", path, err), f.Close())
	}
	return x, nil
}

// maxBuckets is far more than there are trusted hash functions and lengths.
const maxBuckets = 1000

func (x *index) load() error {
	st, err := x.f.Stat()
	if err != nil {
		return err
	}
	r := &fieldReader{r: io.NewSectionReader(x.f, 0, st.Size())}
	if codec, err := varint.ReadUvarint(r); err != nil || codec != uint64(multicodec.CarMultihashIndexSorted) {
		return fmt.Errorf("it is of format 0x%x: %w", codec, errors.Join(err, errIndex))
	}
	for range r.count() {
		code := r.uint64()
		for range r.count() {
			b := bucket{code: code, width: int(r.uint32()), first: x.blocks}
			size := int64(r.uint64())
			b.at = r.pos()
			if r.err != nil || b.width <= offsetLen || b.width > 1<<10 || size < 0 || size%int64(b.width) != 0 || size > st.Size()-b.at || len(x.buckets) == maxBuckets {
				return errors.Join(r.err, errIndex)
			}
			b.count = size / int64(b.width)
			x.blocks += b.count
			if err := b.sample(x.f); err != nil {
				return err
			}
			x.buckets = append(x.buckets, b)
			r.skip(size)
		}
	}
	if r.err != nil || r.pos() != st.Size() {
		return errors.Join(r.err, errIndex)
	}
	return nil
}

var errIndex = errors.New("the index is damaged")

func (b *bucket) sample(f *os.File) error {
	b.samples = make([]uint64, 0, (b.count+stride-1)/stride)
	buf := make([]byte, b.width)
	for i := int64(0); i < b.count; i += stride {
		if _, err := f.ReadAt(buf, b.at+i*int64(b.width)); err != nil {
			return err
		}
		b.samples = append(b.samples, prefixOf(buf[:b.width-offsetLen]))
	}
	return nil
}

// prefixOf orders digests by their first 8 bytes.
func prefixOf(digest []byte) uint64 {
	var p [8]byte
	copy(p[:], digest)
	return binary.BigEndian.Uint64(p[:])
}

// find returns where the block of a hash lies in the CAR, and its number among
// the blocks of the index.
func (x *index) find(hash multihash.Multihash) (offset, number int64, ok bool, err error) {
	h, err := multihash.Decode(hash)
	if err != nil {
		return 0, 0, false, err
	}
	for i := range x.buckets {
		if b := &x.buckets[i]; b.code == h.Code && b.width == len(h.Digest)+offsetLen {
			return b.find(x.f, h.Digest)
		}
	}
	return 0, 0, false, nil
}

func (b *bucket) find(f *os.File, digest []byte) (offset, number int64, ok bool, err error) {
	p := prefixOf(digest)
	// The record is not before the last sample below p, nor behind the first above.
	from := max(0, int64(sort.Search(len(b.samples), func(i int) bool { return b.samples[i] >= p }))-1) * stride
	to := min(b.count, int64(sort.Search(len(b.samples), func(i int) bool { return b.samples[i] > p }))*stride)
	buf := make([]byte, 2*stride*b.width)
	for to-from > 2*stride { // many digests begin alike
		mid := (from + to) / 2
		if _, err := f.ReadAt(buf[:b.width], b.at+mid*int64(b.width)); err != nil {
			return 0, 0, false, fmt.Errorf("read index: %w", err)
		}
		if bytes.Compare(buf[:b.width-offsetLen], digest) <= 0 {
			from = mid
		} else {
			to = mid
		}
	}
	buf = buf[:(to-from)*int64(b.width)]
	if _, err := f.ReadAt(buf, b.at+from*int64(b.width)); err != nil {
		return 0, 0, false, fmt.Errorf("read index: %w", err)
	}
	record := func(i int) []byte { return buf[i*b.width : (i+1)*b.width] }
	i := sort.Search(int(to-from), func(i int) bool { return bytes.Compare(record(i)[:b.width-offsetLen], digest) >= 0 })
	if i == int(to-from) || !bytes.Equal(record(i)[:b.width-offsetLen], digest) {
		return 0, 0, false, nil
	}
	return int64(binary.LittleEndian.Uint64(record(i)[b.width-offsetLen:])), b.first + from + int64(i), true, nil
}

func (x *index) close() error { return x.f.Close() }

// fieldReader reads numbers and remembers the first error.
type fieldReader struct {
	r   *io.SectionReader
	err error
}

func (r *fieldReader) ReadByte() (byte, error) {
	var b [1]byte
	_, err := io.ReadFull(r.r, b[:])
	return b[0], err
}

func (r *fieldReader) bytes(b []byte) []byte {
	if r.err == nil {
		_, r.err = io.ReadFull(r.r, b)
	}
	if r.err != nil {
		clear(b)
	}
	return b
}

// count is a number of buckets.
func (r *fieldReader) count() uint32 {
	n := r.uint32()
	if n > maxBuckets && r.err == nil {
		r.err = errIndex
	}
	if r.err != nil {
		return 0
	}
	return n
}

func (r *fieldReader) uint32() uint32 { return binary.LittleEndian.Uint32(r.bytes(make([]byte, 4))) }
func (r *fieldReader) uint64() uint64 { return binary.LittleEndian.Uint64(r.bytes(make([]byte, 8))) }

func (r *fieldReader) pos() int64 {
	n, _ := r.r.Seek(0, io.SeekCurrent) // of a section it never fails
	return n
}

func (r *fieldReader) skip(n int64) { _, _ = r.r.Seek(n, io.SeekCurrent) }
