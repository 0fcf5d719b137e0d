package bus

import (
	"sync"
	"time"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
)

// clocks are the members whose messages were refused for their time only, so
// that who waits for one of them is told why.
type clocks struct {
	mu   sync.Mutex
	off  map[identity.ID]time.Duration // ahead of this node's; at most maxOff
	next time.Time                     // the next look
}

const (
	maxOff = 256
	// lookEvery bounds what a flood of old messages costs: a signature is
	// checked so often only.
	lookEvery = 100 * time.Millisecond
)

// suspect notes that the sender of e, which is refused for its time, has
// another clock, if it is a member. A copy of an old message, or one that was
// long on its way, looks as if that clock were behind, which is all that comes
// of it.
func (p *Post) suspect(e Envelope, s sealed, now time.Time) {
	c := &p.clocks
	c.mu.Lock()
	if c.next.Sub(now).Abs() <= lookEvery && now.Before(c.next) {
		c.mu.Unlock()
		return
	}
	c.next = now.Add(lookEvery)
	c.mu.Unlock()
	if _, err := p.cfg.prove(e, s, now); err != nil {
		return
	}
	off := time.UnixMilli(e.Time).Sub(now).Round(time.Second)
	c.mu.Lock()
	defer c.mu.Unlock()
	_, known := c.off[e.From]
	if c.off == nil || len(c.off) >= maxOff && !known {
		c.off = map[identity.ID]time.Duration{}
	}
	c.off[e.From] = off
	if !known {
		p.cfg.Logger.Warn("a member's messages are refused for their time", "node", e.From.Short(), "err", offBy(e.From, off, p.cfg.Skew))
	}
}

// right forgets that a member's clock was off.
func (c *clocks) right(id identity.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.off, id)
}

// clockOf returns an error of kind E_CLOCK for a member whose messages are
// refused for their time, or nil.
func (p *Post) clockOf(id identity.ID) error {
	p.clocks.mu.Lock()
	off, known := p.clocks.off[id]
	p.clocks.mu.Unlock()
	if !known {
		return nil
	}
	return offBy(id, off, p.cfg.Skew)
}

func offBy(id identity.ID, off, skew time.Duration) error {
	way := "ahead of"
	if off < 0 {
		way = "behind"
	}
	return jobspec.Failure{
		Kind: jobspec.KindClock, Detail: "the clock of " + id.Short() + " is " + off.Abs().String() + " " + way + " this node's, more than " + skew.String(),
		Hint: "set both clocks: timedatectl set-ntp true",
	}.Error()
}
