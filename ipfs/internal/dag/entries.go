package dag

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
)

// Chunks double in size, so that a small directory costs little.
const (
	firstChunk = 1 << 10
	lastChunk  = 256 << 10
)

// entries holds names and links without a pointer for each of them: the
// garbage collector does not look at a million entries one by one.
type entries struct {
	list   []entry
	chunks [][]byte // records: name and CID behind their lengths, then the size
	bytes  int      // of names and CIDs
}

// entry is where a record is.
type entry struct {
	chunk, offset uint32
	hash          uint64 // of the name; set for a HAMT only
}

func (e *entries) add(name string, l Link) {
	id := l.CID.Cid().KeyString()
	need := len(name) + len(id) + 3*binary.MaxVarintLen64
	last := len(e.chunks) - 1
	if last < 0 || cap(e.chunks[last])-len(e.chunks[last]) < need {
		size := firstChunk
		if last >= 0 {
			size = min(2*cap(e.chunks[last]), lastChunk)
		}
		e.chunks = append(e.chunks, make([]byte, 0, max(size, need)))
		last++
	}
	b := e.chunks[last]
	e.list = append(e.list, entry{chunk: uint32(last), offset: uint32(len(b))})
	b = append(binary.AppendUvarint(b, uint64(len(name))), name...)
	b = append(binary.AppendUvarint(b, uint64(len(id))), id...)
	e.chunks[last] = binary.AppendUvarint(b, l.Size)
	e.bytes += len(name) + len(id)
}

// name returns the name of an entry, which must not be changed.
func (e *entries) name(at entry) []byte {
	name, _ := field(e.chunks[at.chunk][at.offset:])
	return name
}

// field returns the bytes behind a length, and what comes after them.
func field(b []byte) (f, rest []byte) {
	n, k := binary.Uvarint(b)
	return b[k : k+int(n)], b[k+int(n):]
}

// addTo links nd to an entry, with a prefix before its name.
func (e *entries) addTo(nd *merkledag.ProtoNode, prefix string, at entry) error {
	name, rest := field(e.chunks[at.chunk][at.offset:])
	id, rest := field(rest)
	size, _ := binary.Uvarint(rest)
	c, err := cid.Cast(id)
	if err == nil {
		err = nd.AddRawLink(prefix+string(name), &ipld.Link{Size: size, Cid: c})
	}
	if err != nil {
		return fmt.Errorf("build directory: entry %q: %w", name, err)
	}
	return nil
}

func (e *entries) sortByName() {
	slices.SortFunc(e.list, func(a, b entry) int { return bytes.Compare(e.name(a), e.name(b)) })
}

func (e *entries) sortByHash() {
	for i, at := range e.list {
		e.list[i].hash = HashName(e.name(at))
	}
	slices.SortFunc(e.list, func(a, b entry) int { return cmp.Compare(a.hash, b.hash) })
}
