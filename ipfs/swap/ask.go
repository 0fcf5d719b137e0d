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

// ask is one question. nobody is closed when all have said no; has tells one
// member that said yes.
type ask struct {
	id     cid.Cid
	nobody chan struct{}
	has    chan peer.ID

	// Guarded by asks.mu.
	open    map[peer.ID]bool // asked, without a no
	members int              // asked in all
}

// sendTimeout bounds the sending of one question.
const sendTimeout = 5 * time.Second

// ask sends the question to all members that are connected. Who cannot be
// asked, or speaks no bitswap, has nothing. sending ends with ctx.
func (s *Swap) ask(ctx context.Context, id cid.Cid) (a *ask, sending *sync.WaitGroup) {
	peers := s.cfg.Host.Libp2p().Network().Peers()
	a = &ask{id: id, nobody: make(chan struct{}), has: make(chan peer.ID, 1), open: map[peer.ID]bool{}, members: len(peers)}
	for _, p := range peers {
		a.open[p] = true
	}
	s.asks.add(a)
	sending = new(sync.WaitGroup)
	for _, p := range peers {
		sending.Go(func() {
			if err := s.want(ctx, p, id, pb.Message_Wantlist_Have); err != nil {
				s.asks.answer(id, p)
			}
		})
	}
	return a, sending
}

// want asks one member for a block, or whether it has it.
func (s *Swap) want(ctx context.Context, p peer.ID, id cid.Cid, what pb.Message_Wantlist_WantType) error {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	m := bsmsg.New(false)
	m.AddEntry(id, 1, what, true)
	err := s.net.SendMessage(ctx, p, m)
	if err != nil {
		s.log.Debug("ask for a block", "cid", id, "peer", p, "what", what, "err", err)
	}
	return err
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

// yes notes that p has the block.
func (s *asks) yes(id cid.Cid, p peer.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for a := range s.open[id] {
		select {
		case a.has <- p:
		default: // one is enough
		}
	}
}

// end closes the question and returns how many were asked, and how many of
// them did not say no.
func (s *asks) end(a *ask) (members, silent int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open[a.id], a)
	if len(s.open[a.id]) == 0 {
		delete(s.open, a.id)
	}
	return a.members, len(a.open)
}
