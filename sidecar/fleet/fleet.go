// Package fleet knows which members of the domain live, and what each of them
// has: every node tells the others of itself by an advert, each ten seconds and
// when it changes.
//
//	f := fleet.New(fleet.Config{Post: post, Self: node.advert})
//	go post.Run(ctx)
//	go f.Run(ctx)
//	for _, m := range f.Members() { ... } // m.ID, m.Free, m.Labels, m.Held
//
// Invariants: who was not heard for Config.Expiry is not listed, or for longer
// in a domain so large that Config.Rate holds its members back; an advert that
// is older than one that came before changes nothing; table and adverts are
// bounded, whatever members say; what a member says of itself is its claim, and
// only its id is proved.
package fleet

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/wire"
)

// Config is what a Fleet is made of. Post and Self are required.
type Config struct {
	Post *bus.Post // New adds handlers to it, so that it runs afterwards
	// Self returns what this node says of itself now. It is called each second.
	Self func(context.Context) wire.Advert
	// Connected returns the members that are connected; default none.
	Connected func() []bus.Peer
	// Heard is told of each member that is new to the table; nil for nobody.
	Heard  func(identity.ID)
	Every  time.Duration // between two adverts; default 10 s
	Expiry time.Duration // a member that was not heard for so long is gone; default 3.5 times Every
	Limit  int           // members that are known at once; default 4096
	Rate   int           // adverts a second in the whole domain; with more members each tells less often; default 100
	Logger *slog.Logger  // default: no log
	Now    func() time.Time
}

// Member is another member that lives.
type Member struct {
	ID identity.ID
	wire.Advert
	Seen  time.Time // when its advert came, by this node's clock
	Since time.Time // since when it is listed
}

// Fleet is the table of live members. Its methods may be called concurrently.
type Fleet struct {
	cfg  Config
	kick chan struct{}

	mu      sync.Mutex
	members map[identity.ID]entry
	refused int64
}

type entry struct {
	Member
	said time.Time // by the member's clock
}

const (
	typeAdvert bus.Type = "advert"
	lookEvery           = time.Second // between two looks at whether this node has changed
	haste               = 2 * time.Second
)

// New returns a fleet without members.
func New(cfg Config) *Fleet {
	cfg.Every = cmp.Or(cfg.Every, 10*time.Second)
	cfg.Expiry = cmp.Or(cfg.Expiry, cfg.Every*7/2)
	cfg.Rate = cmp.Or(cfg.Rate, 100)
	cfg.Limit = cmp.Or(cfg.Limit, 4096)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Connected == nil {
		cfg.Connected = func() []bus.Peer { return nil }
	}
	f := &Fleet{cfg: cfg, kick: make(chan struct{}, 1), members: map[identity.ID]entry{}}
	bus.Handle(cfg.Post, typeAdvert, f.take)
	return f
}

// Run tells the others of this node until ctx ends, and returns nil then.
func (f *Fleet) Run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var said wire.Advert
	var told map[identity.ID]bool
	var at, next time.Time
	for kicked := true; ; {
		now, self, here := f.cfg.Now(), f.cfg.Self(ctx), f.here()
		if kicked || !now.Before(next) || now.Sub(at) >= max(haste, f.turn()) && (changed(said, self) || news(told, here)) {
			f.announce(ctx, self)
			said, told, at = self, here, now
			every := max(f.cfg.Every, f.turn())
			next = now.Add(every*9/10 + rand.N(every/5))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			kicked = false
		case <-f.kick:
			kicked = true
		}
	}
}

// turn is how long it takes until all members have told of themselves once
// within the domain's rate. Each of them counts about the same.
func (f *Fleet) turn() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.turnOf(len(f.members))
}

func (f *Fleet) turnOf(members int) time.Duration {
	return time.Duration(members) * time.Second / time.Duration(f.cfg.Rate)
}

// expiry is for how long a member may be silent. The lock is held.
func (f *Fleet) expiry() time.Duration {
	return max(f.cfg.Expiry, f.turnOf(len(f.members))*7/2)
}

// here are the members that are connected.
func (f *Fleet) here() map[identity.ID]bool {
	ids := map[identity.ID]bool{}
	for _, p := range f.cfg.Connected() {
		ids[p.ID] = true
	}
	return ids
}

// news reports whether somebody is here who was not told.
func news(told, here map[identity.ID]bool) bool {
	for id := range here {
		if !told[id] {
			return true
		}
	}
	return false
}

// changed reports whether the others want to know of it at once. What is held
// grows with each block.
func changed(a, b wire.Advert) bool {
	return a.Version != b.Version || a.Draining != b.Draining || a.Busy != b.Busy || a.Arch != b.Arch || a.Capacity != b.Capacity || a.Free.CPU != b.Free.CPU || a.Free.Memory != b.Free.Memory ||
		!maps.Equal(a.Labels, b.Labels) || !slices.Equal(a.Addrs, b.Addrs)
}

func (f *Fleet) announce(ctx context.Context, self wire.Advert) {
	ctx, cancel := context.WithTimeout(ctx, f.cfg.Every)
	defer cancel()
	f.mu.Lock()
	lifetime := 2 * f.expiry()
	f.mu.Unlock()
	err := f.cfg.Post.Announce(ctx, bus.TopicNodes, typeAdvert, self, lifetime)
	if err != nil && !errors.Is(err, bus.ErrClosed) && ctx.Err() == nil {
		f.cfg.Logger.Debug("advert not sent", "err", err)
	}
}

// Announce makes Run tell the others now, as when there are new ones.
func (f *Fleet) Announce() {
	select {
	case f.kick <- struct{}{}:
	default:
	}
}

func (f *Fleet) take(_ context.Context, l bus.Letter, a wire.Advert) {
	if err := check(l, a); err != nil {
		f.refuse(l.From, err)
		return
	}
	if f.put(l, a) {
		f.cfg.Logger.Info("member heard", "node", l.From.Short(), "version", a.Version)
		if f.cfg.Heard != nil {
			f.cfg.Heard(l.From)
		}
	}
}

// put notes what a member says, and reports whether it is new.
func (f *Fleet) put(l bus.Letter, a wire.Advert) bool {
	now := f.cfg.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	old, known := f.members[l.From]
	if known && !l.Time.After(old.said) {
		return false
	}
	if !known && len(f.members) >= f.cfg.Limit {
		f.expire(now)
		if len(f.members) >= f.cfg.Limit {
			f.refused++
			return false
		}
	}
	since := now
	if known {
		since = old.Since
	}
	f.members[l.From] = entry{Member{l.From, a, now, since}, l.Time}
	return !known
}

func (f *Fleet) refuse(from identity.ID, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refused++
	f.cfg.Logger.Debug("advert refused", "node", from.Short(), "err", err)
}

// Refused returns how many adverts were over a bound since New.
func (f *Fleet) Refused() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.refused
}

// expire removes who was not heard for too long. The lock is held.
func (f *Fleet) expire(now time.Time) {
	silent := f.expiry()
	maps.DeleteFunc(f.members, func(_ identity.ID, e entry) bool { return now.Sub(e.Seen) > silent })
}

// Gone takes a hint that a member is away: it is not listed until it is heard
// again. It fits bus.Config.Gone.
func (f *Fleet) Gone(_ context.Context, id identity.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.members, id)
}

// Keep removes whom keep is false for, such as members that were revoked.
func (f *Fleet) Keep(keep func(identity.ID) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.DeleteFunc(f.members, func(id identity.ID, _ entry) bool { return !keep(id) })
}

// Members returns the other members that live, by id. The caller must not
// change their maps and lists.
func (f *Fleet) Members() []Member {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.expire(f.cfg.Now())
	list := make([]Member, 0, len(f.members))
	for _, e := range f.members {
		list = append(list, e.Member)
	}
	slices.SortFunc(list, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	return list
}
