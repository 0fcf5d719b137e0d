package peering

import (
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
)

// Guarded makes x check what members say, or believe all of it.
func (x *Exchange) Guarded(yes bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.admits = Gang.admits
	if !yes {
		x.admits = func(Gang, hello, identity.ID) bool { return true }
	}
}

// Ask writes the line that begins a stream between members.
func Ask(s bus.Stream, owner identity.ID, gang, from, to string) error {
	return hello{owner, gang, from, to}.write(s)
}

// Patient lets containers take all the time in the world to say what they want.
func (x *Exchange) Patient() { x.handshake = time.Hour }

// Held is how many connections of a container are open.
func (p *Port) Held() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns)
}

// Total is how many connections of all containers are counted, and of how many gangs.
func (x *Exchange) Total() (conns, gangs int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.total, len(x.conns)
}
