package swap_test

import (
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/embedded"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/ipfs/swap"
	"github.com/ipdc/ipdc/jobspec"
)

// What a member was asked for and forgot is asked for again, though the
// connection to it was never lost.
func TestForgottenWant(t *testing.T) {
	t.Parallel()
	a := newHost(t)
	node, err := embedded.Open(t.Context(), embedded.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { node.Close() })
	root, err := node.Add(t.Context(), "user/x", func(s ipfs.Session) (jobspec.CID, error) {
		c, _, err := pack.File(t.Context(), s, strings.NewReader("a block"))
		return c, err
	})
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan struct{}, 1)
	forget := func(s network.Stream) {
		select {
		case asked <- struct{}{}:
		default:
		}
		io.Copy(io.Discard, s)
	}
	a.Libp2p().SetStreamHandler(a.Protocol("blocks")+"/ipfs/bitswap/1.2.0", forget)
	b := newMember(t, swap.Config{Wait: time.Minute}, a)
	pinned := make(chan error, 1)
	go func() { pinned <- b.Pin(t.Context(), "user/x", root) }()
	select {
	case <-asked:
	case err := <-pinned:
		t.Fatalf("Pin() = %v before the member was asked", err)
	}
	s := swap.New(swap.Config{Host: a})
	t.Cleanup(func() { s.Close() })
	s.Serve(node)
	if err := <-pinned; err != nil {
		t.Error(err)
	}
}

// A search that finds nothing goes on while a member is expected, and ends when
// none is.
func TestExpectedMember(t *testing.T) {
	t.Parallel()
	late, other := newMember(t, swap.Config{}), newMember(t, swap.Config{})
	root := fill(t, late)
	absent, err := jobspec.ParseCID("bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy")
	if err != nil {
		t.Fatal(err)
	}
	host := newHost(t, other.host)
	var asked atomic.Int32
	b := memberOn(t, swap.Config{Expects: func() bool {
		switch asked.Add(1) {
		case 1: // a moment more
		case 2:
			if err := host.Connect(t.Context(), late.host.ID(), late.host.Listen()); err != nil {
				t.Error(err)
			}
		default:
			return false
		}
		return true
	}}, host)
	if err := b.Pin(t.Context(), "user/x", root); err != nil {
		t.Error(err)
	}
	if asked.Load() != 2 {
		t.Errorf("expected members were asked for %d times, want 2", asked.Load())
	}
	if err := b.Pin(t.Context(), "user/x", absent); !errors.Is(err, jobspec.KindFetchTimeout.Error()) {
		t.Errorf("Pin() = %v, want E_FETCH_TIMEOUT", err)
	}
	if asked.Load() != 3 {
		t.Errorf("after a search in vain they were asked for %d times, want 3", asked.Load())
	}
}

// Where there is somebody else to ask, a member that is expected is waited for a
// moment before, as what it has may be nowhere else.
func TestExpectedMemberBeforeNext(t *testing.T) {
	t.Parallel()
	late, other := newMember(t, swap.Config{}), newMember(t, swap.Config{})
	root := fill(t, late)
	host := newHost(t, other.host)
	var asked atomic.Int32
	b := memberOn(t, swap.Config{Next: public{newMember(t, swap.Config{})}, Expects: func() bool {
		if asked.Add(1) > 1 {
			return false
		}
		if err := host.Connect(t.Context(), late.host.ID(), late.host.Listen()); err != nil {
			t.Error(err)
		}
		return true
	}}, host)
	if err := b.Pin(t.Context(), "user/x", root); err != nil || asked.Load() != 1 {
		t.Errorf("Pin() = %v, expected members were asked for %d times, want once", err, asked.Load())
	}
}
