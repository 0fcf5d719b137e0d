package bus

import (
	"sync"

	"github.com/ipdc/ipdc/identity"
)

// lanes shares workers among the senders of messages: each has some at most,
// what it sends beyond that waits in a line of its own, and lines take turns. So
// a member that floods, or whose messages take long, costs its own messages.
type lanes struct {
	workers, each int // at once: in all, and of one sender
	room, line    int // that wait: in all, and of one sender

	running sync.WaitGroup
	mu      sync.Mutex
	closed  bool
	busy    int
	waiting int
	by      map[identity.ID]*lane
	turns   []identity.ID // who has a line, the next one first
}

type lane struct {
	busy int
	line []func()
}

// newLanes returns lanes for a number of workers. A message is 32 KiB at most,
// so that 512 of them hold 16 MiB.
func newLanes(workers int) *lanes {
	return &lanes{workers: workers, each: max(1, workers/4), room: 512, line: 64, by: map[identity.ID]*lane{}}
}

// take runs work, now or in the turn of its sender. It reports false when
// nothing more may wait.
func (l *lanes) take(from identity.ID, work func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	one := l.by[from]
	if one == nil {
		one = &lane{}
	}
	switch {
	case l.closed:
		return false
	case len(one.line) == 0 && one.busy < l.each && l.busy < l.workers:
		l.by[from] = one
		l.start(from, one, work)
	case len(one.line) >= l.line || l.waiting >= l.room:
		return false
	default:
		l.by[from] = one
		if len(one.line) == 0 {
			l.turns = append(l.turns, from)
		}
		one.line = append(one.line, work)
		l.waiting++
	}
	return true
}

// start runs work. The lock is held.
func (l *lanes) start(from identity.ID, one *lane, work func()) {
	l.busy++
	one.busy++
	l.running.Go(func() {
		work()
		l.mu.Lock()
		defer l.mu.Unlock()
		l.busy--
		one.busy--
		if one.busy == 0 && len(one.line) == 0 {
			delete(l.by, from)
		}
		l.next()
	})
}

// next starts what waits, of the sender whose turn it is. The lock is held.
func (l *lanes) next() {
	for i := 0; i < len(l.turns) && l.busy < l.workers; i++ {
		from := l.turns[i]
		one := l.by[from]
		if one.busy >= l.each {
			continue
		}
		work := one.line[0]
		one.line[0] = nil
		one.line = one.line[1:]
		l.waiting--
		l.turns = append(l.turns[:i], l.turns[i+1:]...)
		if len(one.line) > 0 {
			l.turns = append(l.turns, from)
		}
		l.start(from, one, work)
		i = -1
	}
}

// close forgets what waits, and returns when what runs has ended.
func (l *lanes) close() {
	l.mu.Lock()
	l.closed = true
	l.waiting, l.turns = 0, nil
	for _, one := range l.by {
		one.line = nil
	}
	l.mu.Unlock()
	l.running.Wait()
}
