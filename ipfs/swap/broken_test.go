package swap_test

import (
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/internal/p2phost"
	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/ipfs/swap"
)

// A path that is cut by RST in the midst of a transfer, or swallows all that is
// sent: the transfer goes on over another connection and comes whole, without
// what was there already.
func TestF50BrokenPath(t *testing.T) {
	for name, way := range map[string]struct {
		breaks func(*testenv.Wire) (mend func())
		notice time.Duration // ends a sound connection, too, if the machine stalls for as long
	}{
		"F50 RST in a block": {func(w *testenv.Wire) func() { w.Reset(); return func() {} }, 0}, // at once
		"F50 half open":      {(*testenv.Wire).Freeze, 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			quick := func(c *p2phost.Config) { c.Limits.KeepAlive = way.notice }
			a := memberOn(t, swap.Config{}, hostWith(t, quick))
			root := fill(t, a)
			wire := testenv.NewWire(t)
			wire.LeadTo("127.0.0.1:" + a.host.Listen()[0][strings.LastIndexByte(a.host.Listen()[0], '/')+1:])
			b := memberOn(t, swap.Config{Wait: time.Minute}, hostWith(t, quick))
			if err := b.host.Connect(t.Context(), a.host.ID(), []string{wire.Multiaddr()}); err != nil {
				t.Fatal(err)
			}
			mend := make(chan func(), 1)
			wire.At(6<<20, func() { mend <- way.breaks(wire) })
			if err := b.Pin(t.Context(), "user/y", root); err != nil {
				t.Error(err)
			}
			select {
			case f := <-mend:
				f()
			default:
				t.Fatal("all came before the path was broken")
			}
			want, err := a.Verify(t.Context(), root)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := b.Verify(t.Context(), root); err != nil || got != want {
				t.Errorf("Verify() = %+v, %v, want %+v", got, err, want)
			}
			if in := total(b).In; in.Content > want.Bytes+4<<20 {
				t.Errorf("%d bytes came for %d: it began anew", in.Content, want.Bytes)
			}
		})
	}
}
