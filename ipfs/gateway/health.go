package gateway

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"
)

// gateway is one address and what is known about it.
type gateway struct {
	base *url.URL
	http *http.Client

	mu     sync.Mutex
	demote verdict   // why it comes last
	until  time.Time // when that is forgotten
	noCAR  bool      // it gives single blocks only
}

func (g *gateway) String() string { return g.base.String() }

// verdict is what an answer says about its gateway; worse ones are greater.
type verdict int

const (
	fine      verdict = iota
	absent            // it does not have the block
	busy              // it cannot be reached, or asks to come back later
	slow              // it did not answer in time
	badAnswer         // it is no trustless gateway
	lied              // it sent what is not what was asked for
)

// forgotten says after what time a gateway is asked in its turn again: a lie is
// no accident of the day.
func (v verdict) forgotten() time.Duration {
	switch v {
	case busy, slow:
		return time.Minute
	case badAnswer:
		return 10 * time.Minute
	case lied:
		return time.Hour
	}
	return 0
}

// refusal is why a gateway did not give what it was asked for.
type refusal struct {
	verdict
	err error
}

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

// judge notes how a gateway answered. A good answer makes up for slow ones, not
// for a lie.
func (g *gateway) judge(v verdict) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if v == fine && g.demote <= slow {
		g.demote = fine
	}
	if v >= busy && (v >= g.demote || now.After(g.until)) {
		g.demote, g.until = v, now.Add(v.forgotten())
	}
}

func (g *gateway) rank(now time.Time) verdict {
	g.mu.Lock()
	defer g.mu.Unlock()
	if now.After(g.until) {
		return fine
	}
	return g.demote
}

func (g *gateway) givesCARs() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.noCAR
}

func (g *gateway) refuseCARs() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.noCAR = true
}

// order returns the gateways, the best first.
func (c *Client) order() []*gateway {
	now := time.Now()
	ranks := make(map[*gateway]verdict, len(c.gateways))
	for _, g := range c.gateways {
		ranks[g] = g.rank(now)
	}
	list := slices.Clone(c.gateways)
	slices.SortStableFunc(list, func(a, b *gateway) int { return cmp.Compare(ranks[a], ranks[b]) })
	return list
}
