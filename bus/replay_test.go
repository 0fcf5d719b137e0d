package bus_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/ipdc/ipdc/bus"
)

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
