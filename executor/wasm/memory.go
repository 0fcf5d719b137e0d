package wasm

import (
	"github.com/tetratelabs/wazero/experimental"
	"golang.org/x/sys/unix"
)

// allocator gives modules their memory: address space at once, pages as they
// are used, within one limit for all memories that are alive.
type allocator struct {
	limit uint64 // bytes
	used  uint64
	over  func() // called when a module wants more; does not return
}

// Allocate reserves a memory of at most max bytes, or of the limit.
func (a *allocator) Allocate(_, max uint64) experimental.LinearMemory {
	return &memory{from: a, max: min(max, a.limit)}
}

// memory is one linear memory. Its address never changes.
type memory struct {
	from *allocator
	max  uint64
	all  []byte // mapped; nil before the first use
	size uint64
}

// Reallocate makes the memory size bytes long.
func (m *memory) Reallocate(size uint64) []byte {
	if size > m.max || m.from.used-m.size+size > m.from.limit {
		m.from.over()
		return nil
	}
	if m.all == nil && size > 0 {
		b, err := unix.Mmap(-1, 0, int(m.max), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
		if err != nil {
			m.from.over()
			return nil
		}
		m.all = b
	}
	m.from.used += size - m.size
	m.size = size
	return m.all[:size:size]
}

// Free gives the memory back.
func (m *memory) Free() {
	if m.all != nil {
		_ = unix.Munmap(m.all) // ours, so it is mapped
	}
	m.from.used -= m.size
	m.all, m.size = nil, 0
}
