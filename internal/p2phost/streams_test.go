package p2phost_test

import (
	"context"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipdc/ipdc/internal/p2phost"
)

// Streams of one protocol, as those of a large gang, have all the room that a
// member has.
func TestStreamsOfOneProtocol(t *testing.T) {
	c := newClub(t)
	a, b := open(t, c.config(t)), open(t, c.config(t))
	echo(b)
	if err := a.Connect(t.Context(), b.ID(), b.Listen()); err != nil {
		t.Fatal(err)
	}
	p, err := peer.Decode(string(b.ID()))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		s, err := a.Libp2p().NewStream(t.Context(), p, a.Protocol("echo"))
		if err != nil {
			t.Fatalf("stream %d: %v", i, err)
		}
		defer s.Reset()
		s.SetDeadline(time.Now().Add(2 * time.Minute))
		if _, err := s.Write([]byte("x")); err != nil {
			t.Fatalf("stream %d: %v", i, err)
		}
		if _, err := s.Read(make([]byte, 1)); err != nil {
			t.Fatalf("stream %d: %v", i, err)
		}
	}
}

// Streams beyond what there is memory for are refused, and cost neither the
// connections that they came over nor a later stream.
func TestP10StreamsFitMemory(t *testing.T) {
	c := newClub(t)
	cfg := c.config(t)
	cfg.Limits = p2phost.Limits{Memory: 32 << 20, Streams: 1024}
	victim := open(t, cfg)
	echo(victim)
	p, err := peer.Decode(string(victim.ID()))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		cfg := c.config(t)
		cfg.Limits = p2phost.Limits{Memory: 32 << 20, Streams: 1024}
		h := open(t, cfg)
		if err := h.Connect(t.Context(), victim.ID(), victim.Listen()); err != nil {
			t.Fatal(err)
		}
		first := h.Libp2p().Network().ConnsToPeer(p)[0]
		held := 0
		soon, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for range 600 { // more than yamux keeps waiting
			s, err := first.NewStream(soon)
			if err != nil {
				continue
			}
			defer s.Reset()
			held++
		}
		if held == 0 || held == 600 || soon.Err() != nil {
			t.Errorf("of 600 streams %d were opened, %v; want a bound", held, soon.Err())
		}
		if first.IsClosed() {
			t.Error("the connection ended")
		}
		for _, s := range first.GetStreams() {
			s.Reset()
		}
		for range 20 {
			eventually(t, "an answer", func() bool { // what was held is let go here and there
				back, err := say(t.Context(), h, victim.ID(), []byte("still there?"))
				return err == nil && string(back) == "still there?"
			})
		}
		if first.IsClosed() {
			t.Error("later: the connection ended")
		}
	}
}
