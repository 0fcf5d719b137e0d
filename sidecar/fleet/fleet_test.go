package fleet_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/bus/memory"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/fleet"
	"github.com/ipdc/ipdc/wire"
)

const domain = bus.DomainID("abcdefghijklmnopqrstuvwxyz")

// anyone takes everybody as a member.
type anyone struct{}

func (anyone) Check(identity.ID, []byte, time.Time) error { return nil }

// node is a member with a fleet.
type node struct {
	*fleet.Fleet
	id   identity.ID
	post *bus.Post
	bus  *memory.Bus
	stop func()

	mu   sync.Mutex
	says wire.Advert
}

func (n *node) say(change func(*wire.Advert)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change(&n.says)
}

// join starts a member; change may set its configuration.
func join(t *testing.T, nw *memory.Network, change func(*fleet.Config)) *node {
	t.Helper()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	n := &node{id: key.ID(), says: wire.Advert{Version: "1", Arch: "amd64", Capacity: wire.Capacity{CPU: 2000, Memory: 1 << 30, Disk: 1 << 40}}}
	if n.bus, err = nw.Join(n.id); err != nil {
		t.Fatal(err)
	}
	n.post, err = bus.NewPost(n.bus, bus.Config{
		Domain: domain, Key: key, Roster: anyone{}, Certificate: func() []byte { return []byte("c") },
		Gone: func(ctx context.Context, id identity.ID) { n.Gone(ctx, id) },
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg := fleet.Config{Post: n.post, Connected: n.bus.Peers, Self: func(context.Context) wire.Advert {
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.says
	}}
	if change != nil {
		change(&cfg)
	}
	n.Fleet = fleet.New(cfg)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = n.post.Run(ctx) })
	running.Go(func() { _ = n.Run(ctx) })
	n.stop = sync.OnceFunc(func() { cancel(); n.bus.Kill(); running.Wait() })
	t.Cleanup(n.stop)
	return n
}

// pass lets time pass until all is still.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func ids(list []fleet.Member) string {
	var words []string
	for _, m := range list {
		words = append(words, m.ID.Short())
	}
	return strings.Join(words, " ")
}

// Members hear each other, hear what has changed, and forget who says no more.
func TestMembersLiveAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nw := memory.New(memory.Config{})
		var heard atomic.Int32
		a, b := join(t, nw, func(c *fleet.Config) { c.Heard = func(identity.ID) { heard.Add(1) } }), join(t, nw, nil)
		pass(3 * time.Second)
		first := a.Members()
		if len(first) != 1 || first[0].ID != b.id || first[0].Capacity.CPU != 2000 {
			t.Fatalf("Members() = %+v, want %s", first, b.id)
		}
		b.say(func(a *wire.Advert) { a.Free.CPU = 500; a.Labels = map[string]string{"zone": "x"} })
		pass(4 * time.Second)
		if got := a.Members(); got[0].Free.CPU != 500 || got[0].Labels["zone"] != "x" {
			t.Errorf("after a change Members() = %+v", got)
		} else if got[0].Since != first[0].Since || got[0].Seen == first[0].Seen || heard.Load() != 1 {
			t.Errorf("it was new %d times, is listed since %v and was heard at %v; want once, %v and later than %v",
				heard.Load(), got[0].Since, got[0].Seen, first[0].Since, first[0].Seen)
		}
		b.stop() // the medium tells it
		pass(time.Millisecond)
		if got := a.Members(); len(got) != 0 {
			t.Errorf("after a loss Members() = %s, want none", ids(got))
		}
	})
}

// A member behind a partition, of which no medium tells, is gone when its time
// is over, and back when it is heard again.
func TestSilenceExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nw := memory.New(memory.Config{})
		a, b := join(t, nw, nil), join(t, nw, nil)
		pass(3 * time.Second)
		nw.Partition([]identity.ID{a.id})
		pass(20 * time.Second)
		if got := a.Members(); len(got) != 1 {
			t.Fatalf("before the time is over Members() = %q, want one", ids(got))
		}
		pass(20 * time.Second)
		if got := a.Members(); len(got) != 0 {
			t.Fatalf("after 40 s of silence Members() = %q, want none", ids(got))
		}
		nw.Heal()
		pass(12 * time.Second)
		if got := a.Members(); len(got) != 1 || got[0].ID != b.id {
			t.Errorf("healed, Members() = %q, want %s", ids(got), b.id.Short())
		}
	})
}

// Adverts that are lost, doubled, late and out of order leave the newest.
func TestNewestHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nw := memory.New(memory.Config{Faults: memory.Noise(7, 0.2, 0.4, 8*time.Second)})
		a, b := join(t, nw, nil), join(t, nw, nil)
		last := jobspec.CPU(-1)
		for i := range 40 {
			b.say(func(a *wire.Advert) { a.Free.CPU = jobspec.CPU(i) })
			pass(2100 * time.Millisecond)
			for _, m := range a.Members() {
				if m.Free.CPU < last {
					t.Fatalf("an advert of %d came after one of %d", m.Free.CPU, last)
				}
				last = m.Free.CPU
			}
		}
		if last < 20 {
			t.Errorf("the last one that came is %d of 39", last)
		}
	})
}

// What is over a bound is refused; the control: what is at it is taken.
func TestBounds(t *testing.T) {
	many := func(n int) map[string]string {
		m := map[string]string{}
		for i := range n {
			m[fmt.Sprint("k", i)] = "v"
		}
		return m
	}
	for name, test := range map[string]struct {
		change func(*wire.Advert)
		taken  bool
	}{
		"control: 32 labels":    {func(a *wire.Advert) { a.Labels = many(32) }, true},
		"33 labels":             {func(a *wire.Advert) { a.Labels = many(33) }, false},
		"control: 16 addresses": {func(a *wire.Advert) { a.Addrs = make([]string, 16) }, true},
		"17 addresses":          {func(a *wire.Advert) { a.Addrs = make([]string, 17) }, false},
		"a long address":        {func(a *wire.Advert) { a.Addrs = []string{strings.Repeat("a", 513)} }, false},
		"a long version":        {func(a *wire.Advert) { a.Version = strings.Repeat("1", 65) }, false},
		"a label that steers":   {func(a *wire.Advert) { a.Labels = map[string]string{"zone": "x\x1b[2J"} }, false},
		"a runtime that steers": {func(a *wire.Advert) { a.Strict = "x\x1b[2J" }, false},
		"a long runtime":        {func(a *wire.Advert) { a.Strict = strings.Repeat("a", 65) }, false},
		"negative capacity":     {func(a *wire.Advert) { a.Capacity.Memory = -1 }, false},
		"negative bytes":        {func(a *wire.Advert) { a.Held = -1 }, false},
		"the year 10000":        {func(a *wire.Advert) { a.Started = 253402300800 }, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				nw := memory.New(memory.Config{})
				a, b := join(t, nw, nil), join(t, nw, nil)
				b.say(test.change)
				pass(3 * time.Second)
				refused, listed := a.Refused() > 0, false
				for _, m := range a.Members() { // what b said before the change is there
					listed = listed || m.Version != "1" || len(m.Labels) == 32 || len(m.Addrs) == 16
				}
				if refused == test.taken || listed != test.taken {
					t.Errorf("refused %v, listed %v; want taken %v", refused, listed, test.taken)
				}
			})
		})
	}
}

// In a large domain each member tells of itself less often, and is not taken
// for gone.
func TestRateHoldsForTheDomain(t *testing.T) {
	for _, rate := range []int{0, 1} {
		synctest.Test(t, func(t *testing.T) {
			const members, span = 25, 100
			var heard atomic.Int64
			nw := memory.New(memory.Config{Faults: func(memory.Message) []time.Duration { heard.Add(1); return []time.Duration{0} }})
			var all []*node
			for i := range members {
				n := join(t, nw, func(c *fleet.Config) { c.Rate = rate })
				n.say(func(a *wire.Advert) { a.Labels = map[string]string{"n": fmt.Sprint(i)} })
				all = append(all, n)
			}
			pass(time.Minute)
			heard.Store(0)
			for range span {
				pass(time.Second)
				if got := len(all[0].Members()); got != members-1 {
					t.Fatalf("rate %d: %d members are listed, want %d", rate, got, members-1)
				}
			}
			sent := heard.Load() / (members - 1)
			if over := sent > span*3/2; over != (rate == 0) { // the control: all of them in ten seconds
				t.Errorf("rate %d: %d adverts in %d s", rate, sent, span)
			}
		})
	}
}

// The table does not grow over its limit, whoever comes.
func TestTableIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nw := memory.New(memory.Config{})
		a := join(t, nw, func(c *fleet.Config) { c.Limit = 3 })
		for range 5 {
			join(t, nw, nil)
		}
		pass(15 * time.Second)
		if got := a.Members(); len(got) != 3 || a.Refused() == 0 {
			t.Errorf("%d members and %d refused, want 3 and some", len(got), a.Refused())
		}
	})
}

// A peer that is connected and says nothing is shown with what is known.
func TestPeersWithoutAdvert(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nw := memory.New(memory.Config{})
		a := join(t, nw, nil)
		key, err := identity.Generate()
		if err != nil {
			t.Fatal(err)
		}
		mute, err := nw.Join(key.ID())
		if err != nil {
			t.Fatal(err)
		}
		defer mute.Close()
		b := join(t, nw, nil)
		pass(3 * time.Second)
		said := map[string]bool{}
		for _, p := range a.Peers() {
			if !p.Connected {
				t.Errorf("%s is not shown as connected", p.ID)
			}
			said[p.ID] = !p.Seen.IsZero()
		}
		if len(said) != 2 || !said[b.id.String()] || said[key.ID().String()] {
			t.Errorf("who has told of itself: %v; want %s only", said, b.id)
		}
	})
}

func TestParseLabels(t *testing.T) {
	got, err := fleet.ParseLabels([]string{"zone=x", " gpu=", "cloud"})
	if err != nil || len(got) != 3 || got["zone"] != "x" || got["gpu"] != "" {
		t.Errorf("ParseLabels = %v, %v", got, err)
	}
	for _, bad := range [][]string{{""}, {"=x"}, {"Zone=x"}, {"a=b=c"}, {"a=b c"}, {"a=1", "a=2"}} {
		if got, err := fleet.ParseLabels(bad); err == nil {
			t.Errorf("ParseLabels(%q) = %v, want an error", bad, got)
		}
	}
}
