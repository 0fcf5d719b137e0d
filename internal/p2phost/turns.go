package p2phost

import (
	"strings"
	"sync"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// atOnce is how many streams of one member are answered at a time by protocols
// of which each stream costs memory, by the beginning of their names. More wait
// for their turn; Limits.Streams bounds how many.
var atOnce = map[string]int{
	exchangeProtocol: 2,
	"blocks":         8, // each holds a message of up to 4 MiB
}

// turns makes the streams of each member wait for one another.
type turns struct {
	mu    sync.Mutex
	taken map[turn]*queue
}

type turn struct {
	peer peer.ID
	name string // of atOnce
}

type queue struct {
	slots chan struct{}
	users int // with those that wait
}

func newTurns() *turns { return &turns{taken: map[turn]*queue{}} }

// in makes handle wait for a member's turn. Who waits is let go when its
// connection ends, as that ends those before it.
func (t *turns) in(domainPrefix string, id protocol.ID, handle network.StreamHandler) network.StreamHandler {
	own, ok := strings.CutPrefix(string(id), domainPrefix)
	if !ok {
		return handle
	}
	for name, n := range atOnce {
		if strings.HasPrefix(own, name) {
			return func(s network.Stream) {
				defer t.wait(turn{s.Conn().RemotePeer(), name}, n)()
				handle(s)
			}
		}
	}
	return handle
}

func (t *turns) wait(who turn, n int) (done func()) {
	t.mu.Lock()
	q := t.taken[who]
	if q == nil {
		q = &queue{slots: make(chan struct{}, n)}
		t.taken[who] = q
	}
	q.users++
	t.mu.Unlock()
	q.slots <- struct{}{}
	return func() {
		<-q.slots
		t.mu.Lock()
		defer t.mu.Unlock()
		if q.users--; q.users == 0 {
			delete(t.taken, who)
		}
	}
}
