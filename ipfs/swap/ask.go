package swap

import (
	"context"
	"sync"
	"time"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	pb "github.com/ipfs/boxo/bitswap/message/pb"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
)

// asks are the questions that are open: who has a block. Bitswap broadcasts
// what it wants to all members, but lets only those answer that have it; so a
// block that nobody has would take the whole of Config.Wait. Here each member
// is asked to say no, too.
type asks struct {
	mu   sync.Mutex
	open map[cid.Cid]map[*ask]struct{}
}

// ask is one question. nobody is closed when all have said no.
type ask struct {
	id     cid.Cid
	nobody chan struct{}

	// Guarded by asks.mu.
	open    map[peer.ID]bool // asked, without an answer
	members int              // asked in all
}

// sendTimeout bounds the sending of one question.
const sendTimeout = 5 * time.Second

// ask sends the question to all members that are connected. Who cannot be
// asked, or speaks no bitswap, has nothing. sending ends with ctx.
func (s *Swap) ask(ctx context.Context, id cid.Cid) (a *ask, sending *sync.WaitGroup) {
	a = &ask{id: id, nobody: make(chan struct{}), open: map[peer.ID]bool{}}
	peers := s.cfg.Host.Libp2p().Network().Peers()
	for _, p := range peers {
		a.open[p] = true
	}
	a.members = len(peers)
	s.asks.add(a)
	m := bsmsg.New(false)
	m.AddEntry(id, 1, pb.Message_Wantlist_Have, true)
	sending = new(sync.WaitGroup)
	for _, p := range peers {
		sending.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, sendTimeout)
			defer cancel()
			if err := s.net.SendMessage(ctx, p, m); err != nil {
				s.log.Debug("ask for a block", "cid", id, "peer", p, "err", err)
				s.asks.answer(id, p)
			}
		})
	}
	return a, sending
}

func (s *asks) add(a *ask) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = map[cid.Cid]map[*ask]struct{}{}
	}
	if s.open[a.id] == nil {
		s.open[a.id] = map[*ask]struct{}{}
	}
	s.open[a.id][a] = struct{}{}
	if len(a.open) == 0 {
		close(a.nobody)
	}
}

// answer notes that p has no such block.
func (s *asks) answer(id cid.Cid, p peer.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for a := range s.open[id] {
		if !a.open[p] {
			continue
		}
		delete(a.open, p)
		if len(a.open) == 0 {
			close(a.nobody)
		}
	}
}

// end closes the question and returns how many were asked, and how many of
// them did not answer.
func (s *asks) end(a *ask) (members, silent int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open[a.id], a)
	if len(s.open[a.id]) == 0 {
		delete(s.open, a.id)
	}
	return a.members, len(a.open)
}
