package shuffle

import (
	"fmt"
	"syscall"
	"unsafe"
)

// reserve returns room that costs nothing before it is
// touched, and is none of the garbage collector's: a slice of Go's own would be
// cleared when its memory was in use before.
func reserve(bytes int64) ([]byte, error) {
	const flags = syscall.MAP_ANON | syscall.MAP_PRIVATE | syscall.MAP_NORESERVE
	b, err := syscall.Mmap(-1, 0, int(bytes), syscall.PROT_READ|syscall.PROT_WRITE, flags)
	if err != nil {
		return nil, fmt.Errorf("reserve %d bytes of memory: %w", bytes, err)
	}
	return b, nil
}

// buffers is where a collector holds pairs.
type buffers struct {
	arena          []byte  // keys and values of entries; frames: key, value length u32, value
	entries, spare []entry // spare is as large as entries, for sorting
	mapped         [][]byte
}

// open makes the buffers: each may grow to what all of them may have together.
func (b *buffers) open(memory int64) error {
	n := memory/(2*entrySize) + 1
	for _, size := range []int64{memory, n * entrySize, n * entrySize} {
		m, err := reserve(size)
		if err != nil {
			b.release()
			return err
		}
		b.mapped = append(b.mapped, m)
	}
	asEntries := func(m []byte) []entry { return unsafe.Slice((*entry)(unsafe.Pointer(&m[0])), n) }
	b.arena, b.entries, b.spare = b.mapped[0][:0], asEntries(b.mapped[1])[:0], asEntries(b.mapped[2])
	return nil
}

func (b *buffers) empty() { b.arena, b.entries = b.arena[:0], b.entries[:0] }

func (b *buffers) release() {
	for _, m := range b.mapped {
		_ = syscall.Munmap(m) // ours, so it cannot fail
	}
	*b = buffers{}
}
