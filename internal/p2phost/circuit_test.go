package p2phost_test

import (
	"bytes"
	"crypto/rand"
	"testing"
	"time"

	"github.com/ipdc/ipdc/internal/p2phost"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/embedded"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/ipfs/swap"
	"github.com/ipdc/ipdc/jobspec"
)

// hidden are two members that nobody reaches but by way of the hub.
func (c *club) hidden(t *testing.T, limits p2phost.Limits) (a, b *p2phost.Host) {
	t.Helper()
	p2phost.NoLoopback(t)
	cfg := c.config(t)
	cfg.Limits = limits
	hub := open(t, cfg)
	var ends [2]*p2phost.Host
	for i := range ends {
		cfg := c.config(t)
		cfg.Listen = []string{}
		ends[i] = open(t, cfg)
		echo(ends[i])
		if err := ends[i].Connect(t.Context(), hub.ID(), hub.Listen()); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "they are connected by way of the hub", func() bool {
		return connected(ends[0], ends[1].ID()) || len(ends[1].Addrs()) > 0 && ends[0].Connect(t.Context(), ends[1].ID(), ends[1].Addrs()) == nil
	})
	return ends[0], ends[1]
}

// What is relayed is bounded by bytes: what one connection may carry comes, what
// is more does not.
func TestCircuitBytes(t *testing.T) {
	text := bytes.Repeat([]byte("x"), 3<<20)
	for name, test := range map[string]struct {
		limits p2phost.Limits
		passes bool
	}{
		"4 MiB":           {p2phost.Limits{CircuitBytes: 4 << 20}, false}, // it goes there and back
		"control: 16 MiB": {p2phost.Limits{CircuitBytes: 16 << 20}, true},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := newClub(t).hidden(t, test.limits)
			back, err := say(t.Context(), a, b.ID(), text)
			if passes := err == nil && bytes.Equal(back, text); passes != test.passes {
				t.Errorf("echo of %d bytes: %d bytes, %v; want it to pass: %v", len(text), len(back), err, test.passes)
			}
		})
	}
}

// A circuit ends after its time, and another takes its place.
func TestCircuitTime(t *testing.T) {
	a, b := newClub(t).hidden(t, p2phost.Limits{CircuitTime: 2 * time.Second})
	first := since(a, b)
	eventually(t, "there is a new circuit", func() bool { return !since(a, b).IsZero() && since(a, b) != first })
	eventually(t, "the other answers by it", func() bool {
		back, err := say(t.Context(), a, b.ID(), []byte("still there?"))
		return err == nil && string(back) == "still there?"
	})
}

func since(h, to *p2phost.Host) time.Time {
	for _, p := range h.Peers() {
		if p.ID == to.ID() {
			return p.Since
		}
	}
	return time.Time{}
}

// A transfer that is larger than what one circuit may carry goes on over the
// next ones.
func TestTransferOverSeveralCircuits(t *testing.T) {
	const size, limit = 6 << 20, 4 << 20
	a, b := newClub(t).hidden(t, p2phost.Limits{CircuitBytes: limit})
	nodes := map[*p2phost.Host]*embedded.Node{}
	for _, h := range []*p2phost.Host{a, b} {
		s := swap.New(swap.Config{Host: h, Wait: time.Minute})
		t.Cleanup(func() { s.Close() })
		n, err := embedded.Open(t.Context(), embedded.Config{Dir: t.TempDir(), Fetcher: s})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { n.Close() })
		s.Serve(n)
		nodes[h] = n
	}
	data := make([]byte, size)
	rand.Read(data)
	root, err := nodes[a].Add(t.Context(), "user/x", func(s ipfs.Session) (jobspec.CID, error) {
		c, _, err := pack.File(t.Context(), s, bytes.NewReader(data))
		return c, err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := nodes[b].Pin(t.Context(), "user/y", root); err != nil {
		t.Fatal(err)
	}
	if got, err := nodes[b].Verify(t.Context(), root); err != nil || got.Bytes < size {
		t.Errorf("Verify() = %+v, %v", got, err)
	}
}
