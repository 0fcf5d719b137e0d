package tree

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/internal/dag"
	"github.com/ipdc/ipdc/jobspec"
)

// meter reads blocks and stops at the budget.
type meter struct {
	g        ipfs.Getter
	budget   ipfs.Budget // with defaults
	deadline time.Time   // zero without a budget of time
	bytes    int64
	entries  int64
	blocks   int64
}

func newMeter(g ipfs.Getter, b ipfs.Budget) *meter {
	b.Bytes = cmp.Or(b.Bytes, 10<<30)
	b.Entries = cmp.Or(b.Entries, 100_000)
	b.Levels = cmp.Or(b.Levels, 64)
	b.DAGDepth = cmp.Or(b.DAGDepth, 32)
	b.Blocks = cmp.Or(b.Blocks, 16*b.Entries+b.Bytes>>16)
	m := &meter{g: g, budget: b}
	if b.Time > 0 {
		m.deadline = time.Now().Add(b.Time)
	}
	return m
}

// limit ends the context when the budget's time is over. A Content that is
// copied with a context of the visitor's own is limited anew.
func (m *meter) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if m.deadline.IsZero() {
		return ctx, func() {}
	}
	return context.WithDeadlineCause(ctx, m.deadline,
		jobspec.KindFetchTimeout.Errorf("the DAG was not read within %s", m.budget.Time))
}

// first reads the root of what is to be read.
func (m *meter) first(ctx context.Context, c jobspec.CID) (node, error) {
	if err := m.addBlocks(1); err != nil {
		return node{}, err
	}
	return m.node(ctx, c)
}

// node reads and decodes one block, which the caller has counted.
func (m *meter) node(ctx context.Context, c jobspec.CID) (node, error) {
	if ctx.Err() != nil {
		return node{}, context.Cause(ctx)
	}
	data, err := m.g.Get(ctx, c)
	switch {
	case err != nil && ctx.Err() != nil:
		return node{}, context.Cause(ctx)
	case err != nil:
		return node{}, fmt.Errorf("get block: %w", err)
	case len(data) > dag.MaxBlock:
		return node{}, jobspec.KindLimitBytes.Errorf("block %s has %d bytes, at most %d are allowed", c, len(data), dag.MaxBlock)
	}
	return decode(c, data)
}

// addBlocks counts links before the first of them is read, so that what waits
// on a stack is bounded too.
func (m *meter) addBlocks(n int) error {
	if m.blocks += int64(n); m.blocks > m.budget.Blocks {
		return jobspec.KindLimit.Errorf("the DAG has over %d blocks", m.budget.Blocks)
	}
	return nil
}

func (m *meter) addEntries(n int) error {
	if m.entries += int64(n); m.entries > m.budget.Entries {
		return jobspec.KindLimitEntries.Errorf("the DAG has over %d entries", m.budget.Entries)
	}
	return nil
}

func (m *meter) addBytes(n int64) error {
	if n > m.budget.Bytes-m.bytes {
		return jobspec.KindLimitBytes.Errorf("the DAG has over %d bytes of files", m.budget.Bytes)
	}
	m.bytes += n
	return nil
}
