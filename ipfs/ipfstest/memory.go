package ipfstest

import (
	"context"
	"slices"
	"sync"

	"github.com/ipfs/go-cid"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/internal/dag"
	"github.com/ipdc/ipdc/jobspec"
)

var (
	_ ipfs.Session  = (*Memory)(nil)
	_ ipfs.Streamer = (*Memory)(nil)
)

// Memory is an ipfs.Session in memory. It keeps the contract, hashes included,
// and can break it on request. Its methods may be called concurrently.
type Memory struct {
	mu      sync.Mutex
	blocks  map[jobspec.CID][]byte
	gets    map[jobspec.CID]int
	order   []jobspec.CID
	missing map[jobspec.CID]bool
	flipped map[jobspec.CID]bool
}

// NewMemory returns an empty session.
func NewMemory() *Memory {
	return &Memory{
		blocks:  map[jobspec.CID][]byte{},
		gets:    map[jobspec.CID]int{},
		missing: map[jobspec.CID]bool{},
		flipped: map[jobspec.CID]bool{},
	}
}

// Get implements ipfs.Getter. A block that is not here is E_FETCH_TIMEOUT at
// once.
func (m *Memory) Get(ctx context.Context, c jobspec.CID) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if data, inline, err := dag.Inline(c); inline || err != nil {
		return data, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gets[c]++
	m.order = append(m.order, c)
	data, ok := m.blocks[c]
	if !ok || m.missing[c] {
		return nil, jobspec.KindFetchTimeout.Errorf("block %s is not here", c)
	}
	if m.flipped[c] {
		data = slices.Clone(data)
		data[0] ^= 1
	}
	if err := dag.Verify(c, data); err != nil {
		return nil, err
	}
	return data, nil
}

// Stream implements ipfs.Streamer. Each Get spoils the raw block before it, so
// that whoever keeps one too long is found out.
func (m *Memory) Stream(context.Context, jobspec.CID) (ipfs.Getter, func()) {
	return &spoiler{m: m}, func() {}
}

type spoiler struct {
	m    *Memory
	last []byte
}

func (s *spoiler) Get(ctx context.Context, c jobspec.CID) ([]byte, error) {
	for i := range s.last {
		s.last[i] = '!'
	}
	data, err := s.m.Get(ctx, c)
	if s.last = nil; err == nil && c.Cid().Type() == cid.Raw {
		data = slices.Clone(data)
		s.last = data
	}
	return data, err
}

// Put implements ipfs.Session.
func (m *Memory) Put(ctx context.Context, c jobspec.CID, data []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := dag.Verify(c, data); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.blocks[c] = slices.Clone(data)
	return nil
}

// Lose makes Get of c fail from now on, as if nobody had the block.
func (m *Memory) Lose(c jobspec.CID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.missing[c] = true
}

// Flip flips one bit of the stored block c, so that Get fails with
// E_BLOCK_HASH. The block must not be empty.
func (m *Memory) Flip(c jobspec.CID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.flipped[c] = true
}

// Gets returns how often block c was asked for.
func (m *Memory) Gets(c jobspec.CID) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.gets[c]
}

// Order returns the blocks in the order in which they were asked for, with
// repetitions; identity CIDs are left out.
func (m *Memory) Order() []jobspec.CID {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.order)
}

// Reset forgets what was counted, not what is stored.
func (m *Memory) Reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.gets)
	m.order = nil
}

// Len returns the number of blocks.
func (m *Memory) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.blocks)
}

// Blocks returns the CIDs of all blocks, in no order.
func (m *Memory) Blocks() []jobspec.CID {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]jobspec.CID, 0, len(m.blocks))
	for c := range m.blocks {
		out = append(out, c)
	}
	return out
}
