package swap_test

import (
	"io"
	"strings"
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
