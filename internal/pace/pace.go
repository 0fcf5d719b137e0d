// Package pace bounds how fast a program's output is carried on, so that what
// it costs those who keep it, which is outside the program's own bounds, is
// little: a container engine, a supervisor, a node.
//
//	p := pace.New()
//	n, _ := from.Read(buf)
//	_, _ = to.Write(buf[:n])
//	p.Spend(n, pace.Pieces(buf[:n]), over)
//
// Invariants: nothing is lost; the first [Burst] of a task goes at full speed;
// who is done (over is closed) waits no more, but owes what was spent; tasks that
// have all of a machine's processors between them say no more than that many
// times [Rate].
package pace

import (
	"bytes"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// What a task may say, in bytes. Each piece, a line or a write, counts as
// Piece bytes besides its own: Docker's engine takes 16 us for a line that a
// node follows, and some 10 ns for a byte.
const (
	Burst = 64 << 20 // at once: 60,000 lines of 100 bytes
	Rate  = 8 << 20  // in a second after that: 7,500 such lines, an eighth of a processor
	Piece = 1 << 10
)

// Pace is what one task may still say. It is safe for concurrent use.
type Pace struct {
	mu      sync.Mutex // the limiter counts a time twice that it is told of after a later one
	limiter *rate.Limiter
	now     func() time.Time
	after   func(time.Duration) <-chan time.Time
}

// New returns the pace of a task that has said nothing yet.
func New() *Pace { return NewAt(time.Now, time.After) }

// NewAt is New with a clock of the caller's.
func NewAt(now func() time.Time, after func(time.Duration) <-chan time.Time) *Pace {
	return &Pace{limiter: rate.NewLimiter(Rate, Burst), now: now, after: after}
}

// Share says how many thousandths of a processor the task has: one that has less
// than a whole one has that share of Rate, so that many small ones cost no more
// together than few large ones. 0 = it is not told, which is a whole one.
func (p *Pace) Share(cpu int64) {
	share := rate.Limit(Rate)
	if cpu > 0 {
		share = share * rate.Limit(min(cpu, 1000)) / 1000
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limiter.SetLimitAt(p.now(), share)
}

// Pieces returns how many lines are in what is written at once, where a part of
// one is one, too.
func Pieces(b []byte) int {
	n := bytes.Count(b, []byte{'\n'})
	if len(b) > 0 && b[len(b)-1] != '\n' {
		n++
	}
	return n
}

// Spend notes that so many bytes were passed on in so many pieces, at most a
// burst, and waits until all that was spent is paid for, or over is closed. It
// may be nothing that is passed on, to wait for what is owed.
func (p *Pace) Spend(bytes, pieces int, over <-chan struct{}) {
	owed := p.owe(min(bytes+pieces*Piece, Burst))
	if owed <= 0 {
		return
	}
	select {
	case <-p.after(owed):
	case <-over:
	}
}

// owe notes what was spent and returns how long it takes to pay for all of it.
func (p *Pace) owe(cost int) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	return p.limiter.ReserveN(now, cost).DelayFrom(now)
}
