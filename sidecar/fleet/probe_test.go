package fleet_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/ipdc/ipdc/bus/memory"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/fleet"
)

// store is a medium of blocks. Who is deaf fetches nothing, who is dumb gives
// nothing.
type store struct {
	mu     sync.Mutex
	blocks map[jobspec.CID][]byte
}

type end struct {
	*store
	deaf, dumb bool
}

func (e end) Offer(data []byte, _ time.Duration) (jobspec.CID, error) {
	mh, err := multihash.Sum(data, multihash.SHA2_256, -1)
	c := jobspec.WrapCID(cid.NewCidV1(cid.Raw, mh))
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.dumb {
		e.blocks[c] = data
	}
	return c, err
}

func (e end) Fetch(_ context.Context, c jobspec.CID) ([]byte, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if data, ok := e.blocks[c]; ok && !e.deaf {
		return data, nil
	}
	return nil, jobspec.KindFetchTimeout.Errorf("nobody has it")
}

// A probe tells which of the two ways is closed, and which member does not
// answer.
func TestProbe(t *testing.T) {
	for name, test := range map[string]struct {
		far  end
		mute bool
		says string
	}{
		"both ways":        {},
		"nothing arrives":  {far: end{deaf: true}, says: "did not get our block"},
		"nothing is given": {far: end{dumb: true}, says: "did not get the member's block"},
		"no answer":        {mute: true, says: "no answer in 20s"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				all := &store{blocks: map[jobspec.CID][]byte{}}
				test.far.store = all
				nw := memory.New(memory.Config{})
				var near *fleet.Prober
				a := join(t, nw, func(c *fleet.Config) { near = fleet.NewProber(c.Post, end{store: all}) })
				b := join(t, nw, func(c *fleet.Config) {
					if !test.mute {
						fleet.NewProber(c.Post, test.far)
					}
				})
				synctest.Wait()
				got := near.Probe(t.Context(), []identity.ID{b.id})
				if len(got) != 1 || got[0].ID != b.id.String() || got[0].Bytes != 64<<10 {
					t.Fatalf("Probe = %+v", got)
				}
				if p := got[0]; (p.Problem == "") != (test.says == "") || !strings.Contains(p.Problem, test.says) {
					t.Errorf("problem %q, want %q", p.Problem, test.says)
				}
				a.stop()
			})
		})
	}
}
