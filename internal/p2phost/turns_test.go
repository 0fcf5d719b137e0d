package p2phost_test

import (
	"sync"
	"testing"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipdc/ipdc/internal/p2phost"
)

// Of one member's streams only some are answered at a time where each costs
// memory; all have their turn, and others are not held up.
func TestP10StreamsTakeTurns(t *testing.T) {
	c := newClub(t)
	victim, bad, good := open(t, c.config(t)), open(t, c.config(t)), open(t, c.config(t))
	for _, test := range []struct {
		name string
		most int
	}{{"peers/1/test", 2}, {"blocks/test", 8}, {"other", 20}} {
		t.Run(test.name, func(t *testing.T) {
			var mu sync.Mutex
			now := map[peer.ID]int{}
			most := 0
			go1 := make(chan struct{})
			var answered sync.WaitGroup
			victim.Libp2p().SetStreamHandler(victim.Protocol(test.name), func(s network.Stream) {
				p := s.Conn().RemotePeer()
				mu.Lock()
				now[p]++
				most = max(most, now[p])
				mu.Unlock()
				<-go1
				mu.Lock()
				now[p]--
				mu.Unlock()
				s.Close()
				answered.Done()
			})
			answered.Add(21)
			knock := func(h *p2phost.Host, n int) {
				if err := h.Connect(t.Context(), victim.ID(), victim.Listen()); err != nil {
					t.Fatal(err)
				}
				p, err := peer.Decode(string(victim.ID()))
				if err != nil {
					t.Fatal(err)
				}
				for range n {
					s, err := h.Libp2p().NewStream(t.Context(), p, h.Protocol(test.name))
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { s.Reset() })
					if _, err := s.Write([]byte("x")); err != nil {
						t.Fatal(err)
					}
				}
			}
			running := func(want int) func() bool {
				return func() bool {
					mu.Lock()
					defer mu.Unlock()
					n := 0
					for _, one := range now {
						n += one
					}
					return n == want
				}
			}
			knock(bad, 20)
			eventually(t, "the member's turn is used", running(test.most))
			knock(good, 1)
			eventually(t, "another member is answered", running(test.most+1))
			close(go1)
			answered.Wait()
			if most != test.most {
				t.Errorf("%d streams of one member at once, want %d", most, test.most)
			}
		})
	}
}
