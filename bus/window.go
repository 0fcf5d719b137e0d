package bus

import (
	"container/heap"
	"sync"

	"github.com/ipdc/ipdc/identity"
)

// window remembers which messages were taken, so that none is taken twice. It
// is exact while it has room. Beyond that it forgets a sender's oldest message
// and from then on refuses all of that sender's that are as old: a flood costs
// late messages, its own sender's and, when 16 or more flood, those of others,
// but never anybody a replay.
type window struct {
	perSender, total int // messages that are remembered at most

	mu      sync.Mutex
	size    int
	senders map[identity.ID]*memory
}

// memory is what is remembered of one sender.
type memory struct {
	floor int64 // nothing of this time or before is taken
	ids   map[[idLen]byte]struct{}
	order byTime
}

type taken struct {
	time, until int64 // of the envelope; until when a copy could be taken
	id          [idLen]byte
}

func newWindow(total int) *window {
	return &window{perSender: max(total/16, 1), total: total, senders: map[identity.ID]*memory{}}
}

// take reports whether e is new, and remembers it until a copy would be too
// old anyway. now and until are in ms.
func (w *window) take(e Envelope, now, until int64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.size >= w.total || len(w.senders) >= w.total {
		w.sweep(now) // before m is looked up: it may be what is dropped
	}
	m := w.senders[e.From]
	if m == nil {
		m = &memory{ids: map[[idLen]byte]struct{}{}}
		w.senders[e.From] = m
	}
	w.expire(m, now)
	id := [idLen]byte(e.ID)
	if _, known := m.ids[id]; known || e.Time <= m.floor {
		return false
	}
	m.ids[id] = struct{}{}
	heap.Push(&m.order, taken{e.Time, until, id})
	w.size++
	for len(m.order) > w.perSender || w.size > w.total {
		m.floor = max(m.floor, w.forget(m).time)
	}
	return true
}

// forget drops the oldest.
func (w *window) forget(m *memory) taken {
	t := heap.Pop(&m.order).(taken)
	delete(m.ids, t.id)
	w.size--
	return t
}

// expire drops what is too old to be taken again.
func (w *window) expire(m *memory, now int64) {
	for len(m.order) > 0 && m.order[0].until < now {
		w.forget(m)
	}
}

// sweep expires everybody, and drops senders of whom nothing is left that
// could come again.
func (w *window) sweep(now int64) {
	for id, m := range w.senders {
		if w.expire(m, now); len(m.order) == 0 && m.floor < now-2*MaxLifetime.Milliseconds() {
			delete(w.senders, id)
		}
	}
}

// byTime is a heap, the oldest first.
type byTime []taken

func (h byTime) Len() int           { return len(h) }
func (h byTime) Less(i, j int) bool { return h[i].time < h[j].time }
func (h byTime) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *byTime) Push(x any)        { *h = append(*h, x.(taken)) }
func (h *byTime) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
