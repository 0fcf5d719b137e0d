package twin_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ipdc/ipdc/bus/p2p"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/internal/p2phost"
	"github.com/ipdc/ipdc/internal/p2phost/p2phosttest"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/twin"
)

func TestMain(m *testing.M) { p2phosttest.Main(m) }

// process is one with an identity, in the network of all.
type process struct {
	*twin.Watch
	host *p2phost.Host
	end  func()
}

func begin(t *testing.T, key identity.Key, every time.Duration, knows ...*process) *process {
	t.Helper()
	h := p2phosttest.Open(t, p2phosttest.Config(key))
	b, err := p2p.Open(p2p.Config{Host: h})
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Watch: twin.New(twin.Config{Key: key, Streams: b, Every: every}), host: h}
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() { _ = p.Run(ctx) })
	p.end = sync.OnceFunc(func() {
		cancel()
		work.Wait()
		if err := errors.Join(b.Close(), h.Close()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(p.end)
	for _, o := range knows {
		if err := h.Connect(t.Context(), o.host.ID(), o.host.Listen()); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func newKey(t *testing.T) identity.Key {
	t.Helper()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("never %s", what)
		}
	}
}

// twinned reports whether a process knows of an earlier one.
func (p *process) twinned() bool { return errors.Is(p.Check(), jobspec.KindConflict.Error()) }

// Two processes with one identity, neither of which can see the other: the later
// one learns of the earlier one from a member, and takes no work until that ends.
func TestF29TwoProcessesOneIdentity(t *testing.T) {
	key := newKey(t)
	member := begin(t, newKey(t), time.Second)
	first := begin(t, key, time.Second, member)
	eventually(t, "the member is connected", func() bool {
		return slices.ContainsFunc(member.host.Peers(), func(p p2phost.Peer) bool { return p.ID == key.ID() })
	})
	second := begin(t, key, time.Second, member)
	eventually(t, "the second hears of the first", second.twinned)
	if first.twinned() || member.twinned() { // the controls
		t.Errorf("the first says %v, a member %v, want nothing", first.Check(), member.Check())
	}
	first.end()
	eventually(t, "the second is alone again", func() bool { return !second.twinned() })
}

// A process that is started again is not held for its own twin: nothing that the
// earlier one left was said after this one began.
func TestF29StartedAgain(t *testing.T) {
	key := newKey(t)
	member := begin(t, newKey(t), time.Minute)
	first := begin(t, key, time.Minute, member)
	eventually(t, "the first is known", func() bool { return member.Knows(key.ID()) == 1 })
	first.end()
	again := begin(t, key, time.Minute, member)
	eventually(t, "both are known", func() bool { return member.Knows(key.ID()) == 2 })
	if again.twinned() {
		t.Errorf("Check = %v, want nothing", again.Check())
	}
}

// Members cannot make up a twin: what they show has to be signed by the node's
// own key, and now. The control is what does.
func TestF29ForgedTwin(t *testing.T) {
	key, other := newKey(t), newKey(t)
	for name, c := range map[string]struct {
		signer identity.Key
		off    time.Duration // the clock of the notice
		want   bool
	}{
		"control":            {key, 0, true},
		"signed by a member": {other, 0, false},
		"of long ago":        {key, -time.Hour, false},
		"of the future":      {key, time.Hour, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			liar := begin(t, newKey(t), time.Second)
			asked := liar.Shows(c.signer, c.off)
			node := begin(t, key, time.Second, liar)
			for range 3 { // the answer to the second was taken in before the third
				<-asked
			}
			if c.want {
				eventually(t, "the node believes", node.twinned)
			} else if node.twinned() {
				t.Errorf("Check = %v, want nothing", node.Check())
			}
		})
	}
}
