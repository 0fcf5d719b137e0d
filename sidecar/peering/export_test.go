package peering

import (
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
