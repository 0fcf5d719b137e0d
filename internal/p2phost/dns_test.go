package p2phost_test

import (
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
)

// A member whose name nobody can resolve, as while DNS is down: who knows it
// from before goes on talking to it, also over a new connection, and also where
// the member itself does not know whom to dial.
func TestF51DNSFailure(t *testing.T) {
	c := newClub(t)
	cfg := c.config(t)
	cfg.Announce = []string{"/dns4/member.ipdc.invalid/tcp/4101"}
	named := open(t, cfg)
	got := echo(named)
	other := open(t, c.config(t))
	if err := other.Connect(t.Context(), named.ID(), named.Listen()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if back, err := say(t.Context(), other, named.ID(), []byte("still there?")); err != nil || string(back) != "still there?" {
			t.Fatalf("echo = %q, %v", back, err)
		}
		p, err := peer.Decode(string(named.ID()))
		if err != nil {
			t.Fatal(err)
		}
		named.Forget(other.ID())
		if err := other.Libp2p().Network().ClosePeer(p); err != nil { // it looks for the member again
			t.Fatal(err)
		}
		eventually(t, "they have found each other again", func() bool { return connected(other, named.ID()) })
	}
	eventually(t, "the echo has counted", func() bool { return got.Load() > 0 })
}
