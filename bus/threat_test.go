package bus_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
)

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
