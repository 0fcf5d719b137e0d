package bus_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/internal/refusal"
	"github.com/ipdc/ipdc/jobspec"
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

// Each thing that is wrong with an envelope, one at a time. The control is that
// the same forge with nothing changed is handled.
func TestQ02Q03ForgedAndForeign(t *testing.T) {
	s := newStage(t)
	other := newKey(t)
	cert := func(k identity.Key) string { return "member " + string(k.ID()) }
	none := func(*bus.Envelope) {}
	for _, tt := range []struct {
		name string
		want string
		b    func() []byte
	}{
		{"control", "", func() []byte { return s.forge(s.sender, cert(s.sender), none) }},
		{"S29 H10 signed by another", "signature", func() []byte { return s.forge(other, cert(s.sender), none) }},
		{"another's, with his certificate", "signature", func() []byte { return s.forge(other, cert(other), none) }},
		{"S29 no certificate", "certificate", func() []byte { return s.forge(s.sender, "", none) }},
		{"another's certificate", "certificate", func() []byte { return s.forge(s.sender, cert(other), none) }},
		{"another domain", "domain", func() []byte {
			return s.forge(s.sender, cert(s.sender), func(e *bus.Envelope) { e.Domain = bus.DomainID(strings.Repeat("b", 26)) })
		}},
		{"for another", "to", func() []byte {
			return s.forge(s.sender, cert(s.sender), func(e *bus.Envelope) { e.To = other.ID() })
		}},
		{"announced elsewhere", "to", func() []byte {
			return s.forge(s.sender, cert(s.sender), func(e *bus.Envelope) { e.To, e.Topic = "", bus.TopicOffers })
		}},
		{"our own", "self", func() []byte {
			return s.forge(s.receiver, cert(s.receiver), func(e *bus.Envelope) { e.From = s.receiver.ID() })
		}},
		{"version 2", "form", func() []byte {
			return s.forge(s.sender, cert(s.sender), func(e *bus.Envelope) { e.V = 2 })
		}},
		{"no id", "form", func() []byte {
			return s.forge(s.sender, cert(s.sender), func(e *bus.Envelope) { e.ID = nil })
		}},
		{"for one and for all", "form", func() []byte {
			return s.forge(s.sender, cert(s.sender), func(e *bus.Envelope) { e.Topic = bus.TopicOffers })
		}},
		{"for ever", "form", func() []byte {
			return s.forge(s.sender, cert(s.sender), func(e *bus.Envelope) { e.Expiry += (2 * time.Hour).Milliseconds() })
		}},
		{"unknown type", "type", func() []byte {
			return s.forge(s.sender, cert(s.sender), func(e *bus.Envelope) { e.Type = "start" })
		}},
		{"an answer to nothing", "reply", func() []byte {
			return s.forge(s.sender, cert(s.sender), func(e *bus.Envelope) { e.Re = bytes.Repeat([]byte{1}, 16) })
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if why := s.direct(tt.b()); why != tt.want {
				t.Errorf("dropped for %q, want %q", why, tt.want)
			}
		})
	}
	s.roster.revoke(s.sender.ID())
	if why := s.direct(s.sends()); why != "certificate" {
		t.Errorf("of a revoked member: dropped for %q, want certificate", why)
	}
}

// What a member passes on for others: announcements that they would believe.
func TestP11Vouch(t *testing.T) {
	s := newStage(t)
	cfg := bus.Config{Domain: home, Roster: s.roster, Now: func() time.Time { return s.now }}
	announced := func(key identity.Key, change func(e *bus.Envelope)) []byte {
		return s.forge(key, "member "+string(key.ID()), func(e *bus.Envelope) {
			e.To, e.Topic = "", bus.TopicOffers
			change(e)
		})
	}
	stranger := newKey(t)
	none := func(*bus.Envelope) {}
	for _, tt := range []struct {
		name    string
		topic   bus.Topic
		from    identity.ID
		payload []byte
		ok      bool
	}{
		{"control", bus.TopicOffers, s.sender.ID(), announced(s.sender, none), true},
		{"on another topic", bus.TopicNodes, s.sender.ID(), announced(s.sender, none), false},
		{"sent by another", bus.TopicOffers, stranger.ID(), announced(s.sender, none), false},
		{"S29 H10 signed by another", bus.TopicOffers, s.sender.ID(), announced(stranger, none), false},
		{"for one", "", s.sender.ID(), s.sends(), false},
		{"of another domain", bus.TopicOffers, s.sender.ID(), announced(s.sender, func(e *bus.Envelope) { e.Domain = bus.DomainID(strings.Repeat("b", 26)) }), false},
		{"old", bus.TopicOffers, s.sender.ID(), announced(s.sender, func(e *bus.Envelope) { e.Time -= 600_000; e.Expiry -= 600_000 }), false},
		{"noise", bus.TopicOffers, s.sender.ID(), []byte("noise"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := bus.Delivery{Topic: tt.topic, From: tt.from, Payload: tt.payload}
			if err := cfg.Vouch(d); (err == nil) != tt.ok {
				t.Errorf("Vouch = %v, want ok %v", err, tt.ok)
			}
		})
	}
	last := announced(s.sender, none)
	s.roster.revoke(s.sender.ID())
	if err := cfg.Vouch(bus.Delivery{Topic: bus.TopicOffers, Payload: last}); err == nil {
		t.Error("Vouch for a revoked member = nil")
	}
}

// A member that puts its name on the message of another.
func TestP11ClaimedSenderIsNotTheAuthenticatedOne(t *testing.T) {
	s := newStage(t)
	if why := s.deliver(bus.Delivery{From: newKey(t).ID(), Payload: s.sends()}); why != "from" {
		t.Errorf("dropped for %q, want from", why)
	}
	if why := s.deliver(bus.Delivery{From: s.sender.ID(), Payload: s.sends()}); why != "" {
		t.Errorf("control: dropped for %q", why)
	}
}

func TestQ06F44RetainedCommand(t *testing.T) {
	s := newStage(t)
	if why := s.deliver(bus.Delivery{Kept: true, Payload: s.sends()}); why != "kept" {
		t.Errorf("a command with the retain flag: dropped for %q, want kept", why)
	}
	old := s.sends()
	s.now = s.now.Add(8 * time.Minute)
	if why := s.direct(old); why != "stale" {
		t.Errorf("an expired command: dropped for %q, want stale", why)
	}
	if why := s.direct(s.sends()); why != "" {
		t.Errorf("control: dropped for %q", why)
	}
	ahead := s.sends()
	s.now = s.now.Add(-6 * time.Minute)
	if why := s.direct(ahead); why != "early" {
		t.Errorf("a command from the future: dropped for %q, want early", why)
	}
}

// A member whose clock is off by more than messages may be is not believed, and
// who waits for its answer is told of the clock, until that is set.
func TestF32ClockIsWrong(t *testing.T) {
	refusal.Produces(t, jobspec.KindClock)
	for _, off := range []time.Duration{10 * time.Minute, -10 * time.Minute, 4 * time.Minute, -4 * time.Minute} {
		s := newStage(t)
		m := s.sends()
		s.now = s.now.Add(-off)
		wrong := off.Abs() > 5*time.Minute
		if why := s.direct(m); (why != "") != wrong {
			t.Errorf("off by %s: dropped for %q", off, why)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		_, err := bus.Request[question](ctx, s.post, s.sender.ID(), "stop", question{})
		cancel()
		if refusal.Is(t, err, jobspec.KindClock) != wrong || wrong && !strings.Contains(err.Error(), "10m0s") {
			t.Errorf("off by %s: Request = %v", off, err)
		}
		if wrong {
			s.direct(s.sends())
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			if _, err := bus.Request[question](ctx, s.post, s.sender.ID(), "stop", question{}); refusal.Is(t, err, jobspec.KindClock) {
				t.Errorf("after the clock was set: Request = %v", err)
			}
			cancel()
		}
		s.forgeClock()
	}
}

// forgeClock checks that nobody says of another that its clock is wrong.
func (s *stage) forgeClock() {
	s.t.Helper()
	victim, forger := newKey(s.t), newKey(s.t)
	s.direct(s.forge(forger, "member "+string(victim.ID()), func(e *bus.Envelope) {
		e.From = victim.ID()
		e.Time, e.Expiry = e.Time+3_600_000, e.Expiry+3_600_000
	}))
	ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := bus.Request[question](ctx, s.post, victim.ID(), "stop", question{}); errors.Is(err, jobspec.KindClock.Error()) {
		s.t.Errorf("a forged message makes a member's clock wrong: %v", err)
	}
}

func TestQ07Malformed(t *testing.T) {
	s := newStage(t)
	nested := bytes.Repeat([]byte{0x81}, bus.MaxMessage)
	bomb := append([]byte{0xba, 0x00, 0x0f, 0x42, 0x40}, make([]byte, 1000)...) // a map of a million pairs
	good := s.sends()
	long, err := jobspec.EncodeCBOR(map[string]any{"e": []byte{}, "s": []byte{}, "c": []byte{}, "d": 1})
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{
		"nothing": {}, "zero": {0}, "JSON": []byte(`{"e":"","s":"","c":""}`), "a list": {0x80}, "text": {0x61, 'x'},
		"nested": nested, "a million pairs": bomb, "unknown field": long,
		"indefinite": {0xbf, 0xff}, "cut": good[:len(good)-1], "more": append(bytes.Clone(good), 0),
		"too large": make([]byte, bus.MaxMessage+1), "huge length": {0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"twice the same key": append([]byte{0xa2}, bytes.Repeat([]byte{0x61, 'e', 0x40}, 2)...),
	} {
		if why := s.direct(b); why != "form" {
			t.Errorf("%s: dropped for %q, want form", name, why)
		}
	}
	for name, body := range map[string]any{
		"a list": []int{1}, "text": "x", "another type": map[string]any{"n": "one"}, "unknown field": map[string]any{"n": 1, "m": 1},
		"no CID": map[string]any{"n": 1, "c": cbor.Tag{Number: 43, Content: []byte{0}}},
	} {
		if err := s.out.Send(t.Context(), s.receiver.ID(), "stop", body); err != nil {
			t.Fatal(err)
		}
		if why := s.direct(s.line.sent); why != "body" {
			t.Errorf("body %s: dropped for %q, want body", name, why)
		}
	}
	if why := s.direct(good); why != "" { // the queue is not blocked
		t.Errorf("control: dropped for %q", why)
	}
}

func TestQ09F43Duplicates(t *testing.T) {
	s := newStage(t)
	b := s.sends()
	for i := range 100 {
		want := "replay"
		if i == 0 {
			want = ""
		}
		if why := s.direct(b); why != want {
			t.Fatalf("copy %d: dropped for %q, want %q", i, why, want)
		}
	}
}

// A captured message is refused as long as it could be believed, and then for
// its age, also when a flood has filled the window meanwhile.
func TestQ11Replay(t *testing.T) {
	const room = 64
	s := newStage(t, func(c *bus.Config) { c.Window = room })
	captured := s.sends()
	if why := s.direct(captured); why != "" {
		t.Fatalf("control: dropped for %q", why)
	}
	for i := range 10 * room {
		s.now = s.now.Add(time.Millisecond)
		if why := s.direct(s.sends()); why != "" {
			t.Fatalf("message %d in order: dropped for %q", i, why)
		}
		if n := s.post.Remembered(); n > room {
			t.Fatalf("%d messages are remembered, more than %d", n, room)
		}
	}
	if why := s.direct(captured); why != "replay" {
		t.Errorf("after a flood: dropped for %q, want replay", why)
	}
	for range 20 {
		s.now = s.now.Add(time.Minute)
		if why := s.direct(captured); why != "replay" && why != "stale" {
			t.Errorf("later: dropped for %q, want replay or stale", why)
		}
	}
	if why := s.direct(s.sends()); why != "" {
		t.Errorf("a fresh one: dropped for %q", why)
	}
}

// Many senders share the window: a sender that is new while it is full is
// remembered like any other, and what is over makes room.
func TestQ11ReplayFromManySenders(t *testing.T) {
	const room = 16
	s := newStage(t, func(c *bus.Config) { c.Window = room })
	var captured [][]byte
	for round := range 3 {
		for i := range 2 * room {
			key := newKey(t)
			b := s.forge(key, "member "+string(key.ID()), func(e *bus.Envelope) {
				e.From, e.ID = key.ID(), append(bytes.Repeat([]byte{byte(round)}, 15), byte(i))
			})
			if why := s.direct(b); why != "" {
				t.Fatalf("round %d: control: message of sender %d dropped for %q", round, i, why)
			}
			captured = append(captured, b)
			if why := s.direct(b); why != "replay" {
				t.Errorf("round %d: the copy of sender %d's is dropped for %q, want replay", round, i, why)
			}
		}
		for i, b := range captured {
			if why := s.direct(b); why != "replay" && why != "stale" {
				t.Errorf("round %d: message %d again: dropped for %q, want replay or stale", round, i, why)
			}
		}
		if n := s.post.Remembered(); n > room {
			t.Errorf("round %d: %d messages are remembered, more than %d", round, n, room)
		}
		s.now = s.now.Add(8 * time.Minute) // longer than what was sent holds
	}
	s.direct(s.sends())
	if n := s.post.Remembered(); n != 1 {
		t.Errorf("when all but one are over %d are remembered, want 1", n)
	}
}

// An answer counts when it comes from the member that was asked.
func TestQ12ForgedAnswer(t *testing.T) {
	s := newStage(t)
	asked := newCable()
	owner := newKey(t)
	p := newPost(t, asked, owner, func(c *bus.Config) { c.Now = func() time.Time { return s.now } })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	got := make(chan answer, 1)
	sent := make(chan []byte, 1)
	asked.onSend = func(b []byte) { sent <- b }
	go func() {
		a, _ := bus.Request[answer](ctx, p, s.sender.ID(), "double", question{N: 4})
		got <- a
	}()
	request, _, err := bus.Unseal(<-sent)
	if err != nil {
		t.Fatal(err)
	}
	reply := func(by identity.Key, twice int) []byte {
		body, err := jobspec.EncodeCBOR(map[string]any{"value": answer{twice}})
		if err != nil {
			t.Fatal(err)
		}
		return s.forge(by, "member "+string(by.ID()), func(e *bus.Envelope) {
			e.From, e.To, e.Re, e.Body, e.ID = by.ID(), owner.ID(), request.ID, body, bytes.Repeat([]byte{byte(twice)}, 16)
		})
	}
	p.Take(ctx, bus.Delivery{Payload: reply(newKey(t), 66)}) // a member, but not the one
	if n := p.Dropped()["reply"]; n != 1 {
		t.Errorf("%d dropped as reply, want 1", n)
	}
	p.Take(ctx, bus.Delivery{Payload: reply(s.sender, 8)})
	if a := <-got; a.Twice != 8 {
		t.Errorf("the answer is %d, want 8", a.Twice)
	}
}
