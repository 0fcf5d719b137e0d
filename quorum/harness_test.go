package quorum_test

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/bus/memory"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/quorum"
	"github.com/ipdc/ipdc/wire"
)

// lease is short, and so are the times of elections that follow it.
const lease = 1500 * time.Millisecond

// council is some members of a domain on a bus in memory.
type council struct {
	t       *testing.T
	net     *memory.Network
	mu      sync.Mutex
	all     []*seat
	revoked map[identity.ID]bool
}

// seat is one member. Its key and directory outlive its process.
type seat struct {
	*quorum.Quorum
	c      *council
	key    identity.Key
	dir    string
	joined time.Time
	up     atomic.Bool
	mute   atomic.Bool // gives no sign of life
	lost   []wire.Recorded
	got    []wire.Recorded
	claims []wire.Claim
	mu     sync.Mutex
	stop   func()
}

type everybody struct{}

func (everybody) Check(identity.ID, []byte, time.Time) error { return nil }

func newCouncil(t *testing.T, n int) *council {
	t.Helper()
	c := &council{t: t, net: memory.New(memory.Config{}), revoked: map[identity.ID]bool{}}
	for range n {
		c.join()
	}
	t.Cleanup(func() {
		for _, s := range c.all {
			s.stop()
		}
	})
	return c
}

// join starts one more member; the first one is the founder.
func (c *council) join() *seat {
	c.t.Helper()
	return c.joinAt(c.t.TempDir())
}

func (c *council) joinAt(dir string) *seat {
	c.t.Helper()
	key, err := identity.Generate()
	if err != nil {
		c.t.Fatal(err)
	}
	c.mu.Lock()
	s := &seat{c: c, key: key, dir: dir, joined: time.Unix(int64(1000+len(c.all)), 0), stop: func() {}}
	c.all = append(c.all, s)
	c.mu.Unlock()
	s.start()
	return s
}

func (s *seat) id() identity.ID { return s.key.ID() }

func (s *seat) start() {
	t := s.c.t
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("IPDC_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo})).With("node", s.id().Short())
	}
	m, err := s.c.net.Join(s.id())
	if err != nil {
		t.Fatal(err)
	}
	post, err := bus.NewPost(m, bus.Config{
		Domain: bus.DomainID(strings.Repeat("a", 26)), Key: s.key, Roster: everybody{}, Logger: log,
		Certificate: func() []byte { return nil }, Resend: 100 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Quorum, err = quorum.Open(quorum.Config{
		Dir: s.dir, Self: s.id(), Post: post, Streams: m, Live: func() []identity.ID { return s.c.live(s) },
		Founder: s.c.all[0] == s, Joined: s.joined, Revoked: s.c.isRevoked, Lease: lease, Logger: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() { _ = post.Run(ctx) })
	work.Go(func() { _ = s.Run(ctx) })
	work.Go(func() { s.live(ctx) })
	s.up.Store(true)
	s.stop = func() {
		s.up.Store(false)
		cancel()
		work.Wait()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		m.Close()
		s.stop = func() {}
	}
}

// live gives signs of life and keeps what comes back.
func (s *seat) live(ctx context.Context) {
	tick := time.NewTicker(lease / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if s.mute.Load() {
			continue
		}
		once, cancel := context.WithTimeout(ctx, lease)
		s.mu.Lock()
		claims := slices.Clone(s.claims)
		s.mu.Unlock()
		r, err := s.Renew(once, claims)
		cancel()
		if err == nil {
			s.mu.Lock()
			s.lost, s.got = r.Lost, r.Granted
			s.mu.Unlock()
		}
	}
}

func (c *council) live(but *seat) (ids []identity.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.all {
		if s != but && s.up.Load() && !c.revoked[s.id()] {
			ids = append(ids, s.id())
		}
	}
	return ids
}

func (c *council) isRevoked(id identity.ID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.revoked[id]
}

func (c *council) revoke(s *seat, is bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.revoked[s.id()] = is
}

// await waits until ok, which is looked at again and again.
func (c *council) await(what string, ok func() bool) {
	c.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); <-tick.C {
		if ok() {
			return
		}
	}
	c.t.Fatalf("never %s", what)
}

// formed waits until every running member knows the same n keepers.
func (c *council) formed(n int) []identity.ID {
	c.t.Helper()
	var voters []identity.ID
	c.await("all know the keepers", func() bool {
		record := ""
		for _, s := range c.all {
			if !s.up.Load() || c.isRevoked(s.id()) {
				continue
			}
			k := s.Keepers()
			if len(k.Voters) != n || k.Leader == "" || record != "" && k.Record != record {
				return false
			}
			voters, record = k.Voters, k.Record
		}
		return true
	})
	return voters
}

func (c *council) seat(id identity.ID) *seat {
	for _, s := range c.all {
		if s.id() == id {
			return s
		}
	}
	c.t.Fatalf("no member %s", id)
	return nil
}

// leader returns who leads, as the first running member sees it.
func (c *council) leader() (l *seat) {
	c.t.Helper()
	c.await("there is a leader", func() bool {
		for _, s := range c.all {
			if k := s.Keepers(); s.up.Load() && k.Leader != "" && c.seat(k.Leader).up.Load() {
				l = c.seat(k.Leader)
				return true
			}
		}
		return false
	})
	return l
}

func (c *council) ctx(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(c.t.Context(), d)
	c.t.Cleanup(cancel)
	return ctx
}

// entry is a new job of s.
func (s *seat) entry() wire.Recorded {
	s.c.t.Helper()
	spec, err := jobspec.ParseCID("bafkreifzjut3te7nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e")
	if err != nil {
		s.c.t.Fatal(err)
	}
	return wire.Recorded{Job: jobspec.NewJobID(time.Now()), Tenant: "t", SpecCID: spec, Spec: spec, Owner: s.id(), Epoch: 1, Submitted: time.Now().UnixMilli()}
}

// enter puts a new job of s into the record.
func (s *seat) enter() wire.Recorded {
	s.c.t.Helper()
	e := s.entry()
	if err := s.Enter(s.c.ctx(2*time.Minute), e); err != nil {
		s.c.t.Fatalf("enter: %v", err)
	}
	s.claim(e)
	return e
}

func (s *seat) claim(e wire.Recorded) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.claims = append(s.claims, claimOf(e))
}

func (s *seat) found(id jobspec.JobID) wire.Recorded {
	s.c.t.Helper()
	e, err := s.Find(s.c.ctx(2*time.Minute), id)
	if err != nil {
		s.c.t.Fatalf("find %s: %v", id, err)
	}
	return e
}

func claimOf(e wire.Recorded) wire.Claim { return wire.Claim{Job: e.Job, Epoch: e.Epoch} }

func ending(e wire.Recorded, state jobspec.JobState) wire.Ending {
	return wire.Ending{Claim: claimOf(e), State: state, Result: e.SpecCID}
}
