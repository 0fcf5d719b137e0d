package bus_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/bus/memory"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const home bus.DomainID = "aaaaaaaaaaaaaaaaaaaaaaaaaa"

// roster takes the certificate "member ID" of everybody who is not revoked.
type roster struct {
	mu      sync.Mutex
	revoked map[identity.ID]bool
}

func (r *roster) Check(id identity.ID, cert []byte, _ time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if string(cert) != "member "+string(id) || r.revoked[id] {
		return errors.New("no member")
	}
	return nil
}

func (r *roster) revoke(id identity.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.revoked == nil {
		r.revoked = map[identity.ID]bool{}
	}
	r.revoked[id] = true
}

func newKey(t testing.TB) identity.Key {
	t.Helper()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newPost(t testing.TB, m bus.Messenger, key identity.Key, change ...func(*bus.Config)) *bus.Post {
	t.Helper()
	cfg := bus.Config{Domain: home, Key: key, Roster: &roster{}, Certificate: func() []byte { return []byte("member " + key.ID()) }}
	for _, c := range change {
		c(&cfg)
	}
	p, err := bus.NewPost(m, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

type question struct {
	N int         `json:"n"`
	C jobspec.CID `json:"c"`
}

type answer struct {
	Twice int `json:"twice"`
}

// joined is a post that runs until the test ends.
func joined(t *testing.T, nw *memory.Network, set func(p *bus.Post), change ...func(*bus.Config)) (*bus.Post, identity.ID) {
	t.Helper()
	key := newKey(t)
	m, err := nw.Join(key.ID())
	if err != nil {
		t.Fatal(err)
	}
	p := newPost(t, m, key, change...)
	if set != nil {
		set(p)
	}
	var running sync.WaitGroup
	running.Go(func() { _ = p.Run(context.WithoutCancel(t.Context())) })
	t.Cleanup(func() {
		_ = m.Close()
		running.Wait()
	})
	return p, key.ID()
}

func doubles(p *bus.Post) {
	bus.Answer(p, "double", func(_ context.Context, _ bus.Letter, q question) (answer, error) {
		if q.N < 0 {
			return answer{}, jobspec.KindLimit.Errorf("%d is below 0", q.N)
		}
		return answer{2 * q.N}, nil
	})
}

func TestSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // nothing is asked twice
		nw := memory.New(memory.Config{})
		worker, to := joined(t, nw, doubles)
		owner, _ := joined(t, nw, nil)
		if _, err := bus.Request[answer](t.Context(), owner, to, "double", question{N: 1}); err != nil {
			t.Fatal(err)
		}
		if err := owner.Announce(t.Context(), bus.TopicOffers, "offer", question{}, 0); err != nil {
			t.Fatal(err)
		}
		if one, all := owner.Sent(); one != 1 || all != 1 {
			t.Errorf("the owner sent %d and %d, want a request and an announcement", one, all)
		}
		if one, all := worker.Sent(); one != 1 || all != 0 {
			t.Errorf("the worker sent %d and %d, want an answer", one, all)
		}
	})
}

func TestRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// A third of all messages is lost, in both directions, and as many come twice.
		nw := memory.New(memory.Config{Faults: memory.Noise(7, 0.3, 0.3, time.Second)})
		_, worker := joined(t, nw, doubles)
		owner, _ := joined(t, nw, nil)
		ctx, cancel := context.WithTimeout(t.Context(), 30*24*time.Hour) // twenty tries
		defer cancel()
		var all sync.WaitGroup
		for n := range 20 {
			all.Go(func() {
				got, err := bus.Request[answer](ctx, owner, worker, "double", question{N: n})
				if err != nil || got.Twice != 2*n {
					t.Errorf("Request(%d) = %v, %v", n, got, err)
				}
			})
		}
		all.Wait()
		if _, err := bus.Request[answer](ctx, owner, worker, "double", question{N: -1}); !errors.Is(err, jobspec.KindLimit.Error()) {
			t.Errorf("Request(-1) = %v, want E_LIMIT", err)
		}
		short, end := context.WithTimeout(t.Context(), time.Minute)
		defer end()
		if _, err := bus.Request[answer](short, owner, newKey(t).ID(), "double", question{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Request of nobody = %v, want the end of its context", err)
		}
		if _, err := bus.Request[answer](ctx, owner, worker, "double", make([]byte, bus.MaxBody)); !errors.Is(err, bus.ErrSize) {
			t.Errorf("Request with too much = %v, want ErrSize", err)
		}
	})
}

// away is a member's messenger that cannot reach anybody at first.
type away struct {
	bus.Messenger
	fails atomic.Int64 // how many more times
}

func (a *away) Send(ctx context.Context, to identity.ID, b []byte) error {
	if a.fails.Add(-1) >= 0 {
		return fmt.Errorf("%w: it restarts", bus.ErrPeer)
	}
	return a.Messenger.Send(ctx, to, b)
}

// A member that is away for a while is asked again; one that there cannot be is
// not.
func TestRequestWhileAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nw := memory.New(memory.Config{})
		_, worker := joined(t, nw, doubles)
		key := newKey(t)
		m, err := nw.Join(key.ID())
		if err != nil {
			t.Fatal(err)
		}
		line := &away{Messenger: m}
		p := newPost(t, line, key)
		var running sync.WaitGroup
		running.Go(func() { _ = p.Run(context.WithoutCancel(t.Context())) })
		defer running.Wait()
		defer m.Close()
		for _, fails := range []int64{0, 3} { // with 0 it is the control
			line.fails.Store(fails)
			if got, err := bus.Request[answer](t.Context(), p, worker, "double", question{N: 4}); err != nil || got.Twice != 8 {
				t.Errorf("Request after %d losses = %v, %v", fails, got, err)
			}
		}
		line.fails.Store(100)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := bus.Request[answer](ctx, p, worker, "double", question{N: 4}); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, bus.ErrPeer) {
			t.Errorf("Request of one that stays away = %v, want the end of its context and why", err)
		}
		for _, nobody := range []identity.ID{"", "x", key.ID()} {
			if _, err := bus.Request[answer](context.WithoutCancel(t.Context()), p, nobody, "double", question{}); !errors.Is(err, bus.ErrPeer) {
				t.Errorf("Request of %q = %v, want ErrPeer", nobody, err)
			}
		}
	})
}

// An answer that cannot be sent is answered too.
func TestAnswerTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nw := memory.New(memory.Config{})
		_, worker := joined(t, nw, func(p *bus.Post) {
			bus.Answer(p, "repeat", func(_ context.Context, _ bus.Letter, q question) ([]byte, error) { return make([]byte, q.N), nil })
			bus.Answer(p, "explain", func(_ context.Context, _ bus.Letter, q question) (answer, error) {
				return answer{}, errors.New(strings.Repeat("x", q.N))
			})
		})
		owner, _ := joined(t, nw, nil)
		ctx, cancel := context.WithTimeout(t.Context(), 30*24*time.Hour) // twenty tries
		defer cancel()
		if got, err := bus.Request[[]byte](ctx, owner, worker, "repeat", question{N: 1000}); err != nil || len(got) != 1000 { // the control
			t.Errorf("Request = %d bytes, %v", len(got), err)
		}
		for _, typ := range []bus.Type{"repeat", "explain"} {
			if _, err := bus.Request[[]byte](ctx, owner, worker, typ, question{N: bus.MaxBody}); !errors.Is(err, jobspec.KindLimit.Error()) || !strings.Contains(err.Error(), "travels by CID") {
				t.Errorf("Request(%s) for too long an answer = %v, want E_LIMIT and what to do", typ, err)
			}
		}
	})
}

func TestAnnounce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nw := memory.New(memory.Config{Faults: func(memory.Message) []time.Duration { return []time.Duration{0, 0, time.Second} }})
		link, err := jobspec.ParseCID("bafkqaaa")
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var got []question
		var from bus.Letter
		hear := func(p *bus.Post) {
			bus.Handle(p, "news", func(_ context.Context, l bus.Letter, q question) {
				mu.Lock()
				defer mu.Unlock()
				got, from = append(got, q), l
			})
		}
		b, _ := joined(t, nw, hear)
		a, self := joined(t, nw, hear)
		if err := a.Announce(t.Context(), bus.TopicNodes, "news", question{N: 1, C: link}, time.Hour); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(got) != 1 || got[0] != (question{1, link}) || from.From != self || from.Topic != bus.TopicNodes {
			t.Errorf("three copies of one announcement are handled as %v from %+v", got, from)
		}
		if n := b.Dropped()["replay"]; n != 2 {
			t.Errorf("%d replays counted, want 2", n)
		}
		if err := a.Announce(t.Context(), "other", "news", question{}, 0); !errors.Is(err, bus.ErrTopic) {
			t.Errorf("Announce on no topic = %v", err)
		}
		if err := a.Announce(t.Context(), bus.TopicNodes, "No Type", question{}, 0); err == nil {
			t.Error("Announce of no type succeeds")
		}
	})
}

// A member that floods a slow handler costs its own messages: they are handled
// some at a time, wait in a line of their own up to a bound, and hold up neither
// the medium nor what others send, by the same handler.
func TestFloodIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nw := memory.New(memory.Config{})
		release := make(chan struct{})
		var mu sync.Mutex
		running, handled := map[identity.ID]int{}, map[identity.ID]int{}
		victim, id := joined(t, nw, func(p *bus.Post) {
			bus.Handle(p, "slow", func(_ context.Context, l bus.Letter, q question) {
				mu.Lock()
				running[l.From]++
				mu.Unlock()
				if q.N == 0 {
					<-release
				}
				mu.Lock()
				defer mu.Unlock()
				running[l.From]--
				handled[l.From]++
			})
		}, func(c *bus.Config) { c.Workers = 8 })
		bad, badID := joined(t, nw, nil)
		for range 200 {
			if err := bad.Send(t.Context(), id, "slow", question{}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if n := victim.Dropped()["busy"]; n != 200-2-64 || running[badID] != 2 {
			t.Errorf("of 200 messages %d run and %d were dropped, want 2 and the others but 64 that wait", running[badID], n)
		}
		for range 3 { // others, and their second messages
			good, goodID := joined(t, nw, nil)
			for range 2 {
				if err := good.Send(t.Context(), id, "slow", question{N: 1}); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
			}
			if handled[goodID] != 2 {
				t.Errorf("%d of 2 messages of another member are handled meanwhile", handled[goodID])
			}
		}
		close(release)
		synctest.Wait()
		if handled[badID] != 2+64 {
			t.Errorf("%d of the flood are handled in the end, want those that waited, 66", handled[badID])
		}
	})
}

// Lines take turns: who comes last does not wait for the whole line of another.
func TestLinesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nw := memory.New(memory.Config{})
		turn := make(chan struct{})
		var order []identity.ID
		_, id := joined(t, nw, func(p *bus.Post) {
			bus.Handle(p, "slow", func(_ context.Context, l bus.Letter, _ question) {
				<-turn
				order = append(order, l.From)
			})
		}, func(c *bus.Config) { c.Workers = 1 })
		a, first := joined(t, nw, nil)
		b, second := joined(t, nw, nil)
		for _, from := range []*bus.Post{a, a, a, a, b, b} {
			if err := from.Send(t.Context(), id, "slow", question{}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		for range 6 {
			turn <- struct{}{}
			synctest.Wait()
		}
		if diff := cmp.Diff([]identity.ID{first, first, second, first, second, first}, order); diff != "" {
			t.Errorf("order (-want +got):\n%s", diff)
		}
	})
}

func TestGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nw := memory.New(memory.Config{})
		gone := make(chan identity.ID, 1)
		joined(t, nw, nil, func(c *bus.Config) { c.Gone = func(_ context.Context, id identity.ID) { gone <- id } })
		key := newKey(t)
		m, err := nw.Join(key.ID())
		if err != nil {
			t.Fatal(err)
		}
		m.Kill()
		if id := <-gone; id != key.ID() {
			t.Errorf("gone is %s, want %s", id, key.ID())
		}
	})
}

func TestNewPostRefuses(t *testing.T) {
	for name, cfg := range map[string]bus.Config{
		"no roster":     {Domain: home, Certificate: func() []byte { return nil }},
		"wrong domain":  {Domain: "lab/#", Roster: &roster{}, Certificate: func() []byte { return nil }},
		"no credential": {Domain: home, Roster: &roster{}},
	} {
		if _, err := bus.NewPost(nil, cfg); err == nil {
			t.Errorf("NewPost with %s succeeds", name)
		}
	}
}
