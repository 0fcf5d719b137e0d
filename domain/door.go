package domain

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
)

// DoorConfig says how a member answers at its door.
type DoorConfig struct {
	Files Files
	Key   identity.Key // the node's
	// Members returns where members can be reached, this node among them; what
	// fits is handed on. nil: nowhere.
	Members func() []Addr
	// Doors returns where this node's door is, each with /p2p/ID. nil: nowhere.
	Doors  func() []Addr
	Now    func() time.Time // nil: time.Now
	Logger *slog.Logger     // nil: nothing is logged
}

// Door answers those who ask to be let into the domain or for its newest
// secret. Serve may be called from any number of goroutines.
type Door struct {
	DoorConfig
	tries tries
	work  chan struct{} // has a place for each request that is looked at
}

// atOnce bounds the requests that are looked at: each reads files and checks
// signatures. More wait, within their time.
const atOnce = 4

// NewDoor returns a door.
func NewDoor(c DoorConfig) *Door {
	if c.Members == nil {
		c.Members = func() []Addr { return nil }
	}
	if c.Doors == nil {
		c.Doors = func() []Addr { return nil }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Door{DoorConfig: c, tries: tries{wrong: map[identity.ID]try{}}, work: make(chan struct{}, atOnce)}
}

// Serve answers one request on s and closes it. peer is who is at the other
// end, as the transport has authenticated it. The error is what the peer was
// told, or why it was told nothing.
func (d *Door) Serve(ctx context.Context, peer identity.ID, s io.ReadWriteCloser) error {
	ctx, cancel := context.WithTimeout(ctx, enrolTimeout)
	defer cancel()
	stop := closeAfter(ctx, s)
	defer stop()
	var req request
	if err := readMessage(s, maxRequest, &req); err != nil {
		return err // a stranger gets no words
	}
	g, err := d.look(ctx, peer, req)
	ans := answer{V: enrolVersion, Grant: g}
	if err != nil {
		d.Logger.Warn("not let in", "peer", peer, "err", err)
		ans.Refusal = newRefusal(err)
	}
	return errors.Join(err, writeMessage(s, ans))
}

// closeAfter closes s when the time for a request is over, and when stop is
// called.
func closeAfter(ctx context.Context, s io.Closer) (stop func()) {
	ctx, cancel := context.WithTimeout(ctx, enrolTimeout)
	done := context.AfterFunc(ctx, func() { s.Close() })
	return func() {
		if done() {
			s.Close()
		}
		cancel()
	}
}

// look answers a request when it has its turn.
func (d *Door) look(ctx context.Context, peer identity.ID, req request) (*grant, error) {
	select {
	case d.work <- struct{}{}:
		defer func() { <-d.work }()
		return d.grant(ctx, peer, req)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (d *Door) grant(ctx context.Context, peer identity.ID, req request) (*grant, error) {
	if err := d.tries.may(peer, d.Now()); err != nil {
		return nil, err
	}
	m, err := d.Files.Load()
	if err != nil {
		return nil, internal(err)
	}
	switch {
	case req.V != enrolVersion:
		return nil, refuse("use the same version of ipdc on both machines", "version %d is spoken there, %d here", req.V, enrolVersion)
	case req.Domain != m.ID():
		return nil, refuse("ask for an invitation to this node's domain", "this node is in another domain")
	case req.Code != nil && req.Certificate == nil:
		return d.join(ctx, peer, req.Code)
	case req.Certificate != nil && req.Code == nil:
		return d.renew(m, peer, req.Certificate)
	}
	return nil, refuse("", "a code or a certificate is asked for")
}

func (d *Door) join(ctx context.Context, peer identity.ID, code []byte) (*grant, error) {
	m, cert, err := d.Files.use(ctx, d.Key, peer, code, d.Now())
	if errors.Is(err, errNoCode) {
		d.tries.count(peer, d.Now())
	}
	if err != nil {
		return nil, err
	}
	d.Logger.Info("let in", "peer", peer, "domain", m.Name)
	return d.of(m, cert), nil
}

// renew gives the newest secret to a member, and a new certificate when less
// than a third of its own is left.
func (d *Door) renew(m Membership, peer identity.ID, cert []byte) (*grant, error) {
	roster, err := m.Roster()
	if err != nil {
		return nil, err
	}
	now := d.Now()
	if err := roster.Check(peer, cert, now); err != nil {
		return nil, err
	}
	c, err := ReadCertificate(cert)
	if err != nil {
		return nil, err
	}
	if c.NotAfter.Sub(now) < Lifetime/3 && m.CanInvite() && (c.Role == RoleMember || m.IsAdmin) {
		iss, err := d.Files.issuer(m, d.Key)
		if err != nil {
			return nil, err
		}
		cert = iss.issue(m.ID(), peer, c.Role, now)
	}
	return d.of(m, cert), nil
}

func (d *Door) of(m Membership, cert []byte) *grant {
	return &grant{
		Certificate: cert, Secret: slices.Clone(m.secret[:]), List: m.rawList,
		Addrs: texts(unrevoked(joined(d.Members(), m.Addrs, maxMembers), m.List)), Doors: texts(unrevoked(joined(d.Doors(), m.Doors, maxDoors), m.List)),
	}
}

// tries bounds how often one peer may offer wrong codes.
type tries struct {
	mu    sync.Mutex
	wrong map[identity.ID]try
}

type try struct {
	n    int
	till time.Time
}

const (
	maxTries  = 5
	triesFor  = 10 * time.Minute
	maxTriers = 1024
)

func (t *tries) may(peer identity.ID, now time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if w := t.wrong[peer]; w.n >= maxTries && now.Before(w.till) {
		return jobspec.KindLimit.Errorf("%d wrong invitations from %s, the next is looked at in %s", w.n, peer, w.till.Sub(now).Round(time.Second))
	}
	return nil
}

func (t *tries) count(peer identity.ID, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.wrong) >= maxTriers {
		clear(t.wrong) // a code has 128 bits: what counts is that memory is bounded
	}
	w := t.wrong[peer]
	if !now.Before(w.till) {
		w.n = 0
	}
	t.wrong[peer] = try{w.n + 1, now.Add(triesFor)}
}
