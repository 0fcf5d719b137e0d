package ipfs

import (
	"context"
	"sync/atomic"
)

// Moved counts the bytes of blocks that were fetched from other machines: the
// content of files, and the nodes that lead to it. It may be used concurrently.
type Moved struct{ content, nodes atomic.Int64 }

// Bytes returns what was counted so far.
func (m *Moved) Bytes() (content, nodes int64) { return m.content.Load(), m.nodes.Load() }

type movedKey struct{}

// CountMoved returns a context whose fetches are counted in m, and in no other
// that was given to ctx before.
func CountMoved(ctx context.Context, m *Moved) context.Context {
	return context.WithValue(ctx, movedKey{}, m)
}

// AddMoved counts a block that was fetched, where ctx has a count.
func AddMoved(ctx context.Context, content, nodes int64) {
	if m, ok := ctx.Value(movedKey{}).(*Moved); ok {
		m.content.Add(content)
		m.nodes.Add(nodes)
	}
}
