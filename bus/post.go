package bus

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
)

// Roster says who is a member. Package domain has one.
type Roster interface {
	// Check returns nil when cert makes id a member at now and id was not
	// revoked. It is called by several goroutines and for each message.
	Check(id identity.ID, cert []byte, now time.Time) error
}

// Config is what a Post needs.
type Config struct {
	Domain      DomainID                                  // required
	Key         identity.Key                              // required: the node's
	Roster      Roster                                    // required
	Certificate func() []byte                             // required: the node's own, as it is now; at most 3 KiB
	Gone        func(ctx context.Context, id identity.ID) // a hint that a member is gone; nil: not asked for
	Logger      *slog.Logger                              // nil: none

	Lifetime time.Duration    // how long messages to one hold; 0 means 2m
	Skew     time.Duration    // how much clocks may differ; 0 means 5m
	Resend   time.Duration    // after how long Request asks again, doubling; 0 means 2s
	Window   int              // messages remembered against replays; 0 means 65536 (some 8 MB)
	Workers  int              // messages handled at once, of one sender a quarter; 0 means 16. Some 500 wait
	Now      func() time.Time // nil means time.Now
}

func (c Config) withDefaults() Config {
	set := func(d *time.Duration, def time.Duration) {
		if *d <= 0 {
			*d = def
		}
	}
	set(&c.Lifetime, 2*time.Minute)
	set(&c.Skew, 5*time.Minute)
	set(&c.Resend, 2*time.Second)
	if c.Window <= 0 {
		c.Window = 1 << 16
	}
	if c.Workers <= 0 {
		c.Workers = 16
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Post seals what goes over a Messenger and opens what comes. Messages of
// other domains, forged, stale, replayed or malformed ones are counted and
// dropped; what is left goes to the handler of its type.
//
//	p, err := bus.NewPost(m, bus.Config{...})
//	bus.Handle(p, "offer", func(ctx context.Context, l bus.Letter, o Offer) { ... })
//	bus.Answer(p, "assign", func(ctx context.Context, l bus.Letter, a Assign) (Accepted, error) { ... })
//	go p.Run(ctx)
//	err = p.Announce(ctx, bus.TopicOffers, "offer", offer, time.Minute)
//	got, err := bus.Request[Accepted](ctx, p, worker, "assign", assign)
//
// Handlers are set before Run and run concurrently, in any order. A message is
// handed over at most once per life of the Post; after a restart a copy that has
// not expired can come again, and senders ask again, so that handlers are
// idempotent. Post keeps no state on disk and does not close the Messenger.
type Post struct {
	m      Messenger
	cfg    Config
	self   identity.ID
	seen   *window
	clocks clocks
	drops  counts
	sent   struct{ one, all atomic.Int64 }
	routes map[Type]func(context.Context, Letter, []byte) // set before Run

	mu      sync.Mutex
	pending map[[idLen]byte]pending // requests without a reply
}

// Letter is an opened envelope without its body. From is proved: it signed, and
// is a member.
type Letter struct {
	From  identity.ID
	Topic Topic // "" for what was sent to this node alone
	Type  Type
	Time  time.Time

	id []byte
}

// NewPost returns a post over m.
func NewPost(m Messenger, cfg Config) (*Post, error) {
	if _, err := ParseDomainID(string(cfg.Domain)); err != nil {
		return nil, fmt.Errorf("post: %w", err)
	}
	if cfg.Roster == nil || cfg.Certificate == nil {
		return nil, errors.New("post: a roster and a certificate are required")
	}
	cfg = cfg.withDefaults()
	return &Post{
		m: m, cfg: cfg, self: cfg.Key.ID(), seen: newWindow(cfg.Window),
		routes: map[Type]func(context.Context, Letter, []byte){}, pending: map[[idLen]byte]pending{},
	}, nil
}

// Handle makes h take the messages of one type whose body is a T. Others of the
// type are dropped. A second handler of a type takes the place of the first.
func Handle[T any](p *Post, typ Type, h func(ctx context.Context, l Letter, body T)) {
	p.routes[typ] = func(ctx context.Context, l Letter, raw []byte) {
		var body T
		if err := lenient.Unmarshal(raw, &body); err != nil {
			p.drop(DropBody, l.From, err)
			return
		}
		h(ctx, l, body)
	}
}

// Announce seals body and sends it to all. It holds for lifetime, at most
// MaxLifetime; 0 means as long as a message to one.
func (p *Post) Announce(ctx context.Context, topic Topic, typ Type, body any, lifetime time.Duration) error {
	message, _, err := p.seal(Envelope{Topic: topic, Type: typ}, body, lifetime)
	if err != nil {
		return err
	}
	return p.m.Announce(ctx, topic, message)
}

// Send seals body and sends it to one member.
func (p *Post) Send(ctx context.Context, to identity.ID, typ Type, body any) error {
	message, _, err := p.seal(Envelope{To: to, Type: typ}, body, 0)
	if err != nil {
		return err
	}
	return p.m.Send(ctx, to, message)
}

func (p *Post) seal(e Envelope, body any, lifetime time.Duration) (message []byte, id [idLen]byte, err error) {
	if lifetime <= 0 {
		lifetime = p.cfg.Lifetime
	}
	now := p.cfg.Now()
	_, _ = rand.Read(id[:]) // never fails
	e.V, e.ID, e.Domain, e.From = envelopeVersion, id[:], p.cfg.Domain, p.self
	e.Time, e.Expiry = now.UnixMilli(), now.Add(min(lifetime, MaxLifetime)).UnixMilli()
	if e.Body, err = jobspec.EncodeCBOR(body); err == nil {
		err = checkType(e.Type)
	}
	if err == nil {
		message, err = seal(e, p.cfg.Key, p.cfg.Certificate())
	}
	if err != nil {
		return nil, id, fmt.Errorf("seal %s: %w", e.Type, err)
	}
	if e.Topic == "" {
		p.sent.one.Add(1)
	} else {
		p.sent.all.Add(1)
	}
	return message, id, nil
}

// Run receives until ctx ends or the Messenger is closed, and returns when its
// handlers have.
func (p *Post) Run(ctx context.Context) error {
	l := newLanes(p.cfg.Workers)
	defer l.close()
	return p.m.Receive(ctx, func(d Delivery) {
		from, work := p.receive(ctx, d)
		if work != nil && !l.take(from, work) {
			p.drop(DropBusy, from, nil)
		}
	})
}

// Sent returns how many messages were made for one member, those included that
// ask or answer once more, and for all.
func (p *Post) Sent() (one, all int64) { return p.sent.one.Load(), p.sent.all.Load() }

// Dropped returns how many messages were dropped, by reason.
func (p *Post) Dropped() map[string]int64 { return p.drops.snapshot() }

func (p *Post) drop(why Drop, hint identity.ID, err error) {
	p.drops[why].Add(1)
	p.cfg.Logger.Debug("message dropped", "why", why.String(), "node", hint.Short(), "err", err)
}

// receive opens d and returns what is to be done about it, or nil, and who
// sent it.
func (p *Post) receive(ctx context.Context, d Delivery) (from identity.ID, work func()) {
	if d.Gone {
		if p.cfg.Gone == nil || d.From == "" || d.From == p.self {
			return "", nil
		}
		return d.From, func() { p.cfg.Gone(ctx, d.From) }
	}
	e, why, err := p.open(d)
	if err != nil {
		p.drop(why, d.From, err)
		return "", nil
	}
	p.clocks.right(e.From)
	if len(e.Re) > 0 {
		p.settle(e)
		return "", nil
	}
	route := p.routes[e.Type]
	if route == nil {
		p.drop(DropType, e.From, nil)
		return "", nil
	}
	l := Letter{From: e.From, Topic: e.Topic, Type: e.Type, Time: time.UnixMilli(e.Time).UTC(), id: e.ID}
	return e.From, func() { route(ctx, l, e.Body) }
}
