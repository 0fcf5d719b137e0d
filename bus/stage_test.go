package bus_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
)

// cable is a medium whose other end is the test.
type cable struct {
	*bus.Inbox
	sent   []byte // last
	onSend func([]byte)
}

func newCable() *cable { return &cable{Inbox: bus.NewInbox(0)} }

func (c *cable) Announce(_ context.Context, _ bus.Topic, b []byte) error { c.sent = b; return nil }
func (c *cable) Send(_ context.Context, _ identity.ID, b []byte) error {
	if c.onSend != nil {
		c.onSend(b)
		return nil
	}
	c.sent = b
	return nil
}
func (c *cable) Close() error { c.Inbox.Close(); return nil }

// stage is one honest sender, one receiver, and an attacker that is all of
// the medium.
type stage struct {
	t        *testing.T
	sender   identity.Key
	receiver identity.Key
	out      *bus.Post // of the sender
	line     *cable
	post     *bus.Post // of the receiver
	roster   *roster
	handled  atomic.Int64
	now      time.Time
}

func newStage(t *testing.T, change ...func(*bus.Config)) *stage {
	s := &stage{t: t, sender: newKey(t), receiver: newKey(t), line: newCable(), roster: &roster{}, now: time.Unix(1_800_000_000, 0)}
	clock := func(c *bus.Config) { c.Now, c.Roster = func() time.Time { return s.now }, s.roster }
	s.out = newPost(t, s.line, s.sender, clock)
	s.post = newPost(t, newCable(), s.receiver, append([]func(*bus.Config){clock}, change...)...)
	bus.Handle(s.post, "stop", func(context.Context, bus.Letter, question) { s.handled.Add(1) })
	return s
}

// sends returns a message that the sender seals for the receiver.
func (s *stage) sends() []byte {
	s.t.Helper()
	if err := s.out.Send(s.t.Context(), s.receiver.ID(), "stop", question{N: 1}); err != nil {
		s.t.Fatal(err)
	}
	return s.line.sent
}

// deliver gives d to the receiver and returns why it was dropped, or "".
func (s *stage) deliver(d bus.Delivery) (why string) {
	s.t.Helper()
	before, handled := s.post.Dropped(), s.handled.Load()
	s.post.Take(s.t.Context(), d)
	for name, n := range s.post.Dropped() {
		if n > before[name] {
			why += name
		}
	}
	if (why == "") != (s.handled.Load() == handled+1) {
		s.t.Errorf("dropped for %q, and handled %d more", why, s.handled.Load()-handled)
	}
	return why
}

func (s *stage) direct(payload []byte) string { return s.deliver(bus.Delivery{Payload: payload}) }

// forge seals e, completed with what is honest, by key and with cert.
func (s *stage) forge(key identity.Key, cert string, change func(e *bus.Envelope)) []byte {
	s.t.Helper()
	honest, _, err := bus.Unseal(s.sends())
	if err != nil {
		s.t.Fatal(err)
	}
	change(&honest)
	b, err := bus.Seal(honest, key, []byte(cert))
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}
