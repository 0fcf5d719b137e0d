package swap

import (
	"maps"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// signs are what members showed of themselves: when a block came from each, and
// when a connection to it ended. What was on its way over that is lost, and
// bitswap does not send it again when the member has a second connection.
type signs struct {
	mu   sync.Mutex
	next chan struct{} // closed by the next loss
	last time.Time     // of all losses
	lost map[peer.ID]time.Time
	sent map[peer.ID]time.Time // a block
}

// comeback is how long a member that was lost may take to come back, before it
// counts that the others have nothing: the host dials again every five seconds.
const comeback = 12 * time.Second

// brief is how long a search for what may be public goes on for members that are
// expected.
const brief = 3 * time.Second

// hope says whether a member that was lost lately may still come back with what
// nobody else has.
func (s *signs) hope() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.last.IsZero() && time.Since(s.last) < comeback
}

// quiet is how long a member that has a block may send nothing at all before it
// is asked again.
const quiet = 10 * time.Second

// forgotten says whether what p was asked for at that time will not come by
// itself any more: it is lost with a connection, or p sends nothing, or sends
// other things for longer than any may take.
func (s *signs) forgotten(p peer.ID, asked time.Time, longest time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	took := time.Since(asked)
	return s.lost[p].After(asked) || took > longest || took > quiet && time.Since(s.sent[p]) > quiet
}

// loss is closed by the next loss.
func (s *signs) loss() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == nil {
		s.next = make(chan struct{})
	}
	return s.next
}

// remembered is how long the signs of a member are of use to any search.
const remembered = 2 * time.Hour

func (s *signs) note(of *map[peer.ID]time.Time, p peer.ID) {
	if *of == nil {
		*of = map[peer.ID]time.Time{}
	}
	if _, known := (*of)[p]; !known {
		maps.DeleteFunc(*of, func(_ peer.ID, at time.Time) bool { return time.Since(at) > remembered })
	}
	(*of)[p] = time.Now()
}

func (s *signs) blockFrom(p peer.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note(&s.sent, p)
}

func (s *signs) lose(p peer.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = time.Now()
	s.note(&s.lost, p)
	if s.next != nil {
		close(s.next)
		s.next = nil
	}
}

// follow notes losses until the function that it returns is called.
func (s *signs) follow(n network.Network) (stop func()) {
	watch := &network.NotifyBundle{DisconnectedF: func(_ network.Network, c network.Conn) { s.lose(c.RemotePeer()) }}
	n.Notify(watch)
	return func() { n.StopNotify(watch) }
}
