package bus_test

import (
	"bytes"
	"context"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
)

// Whatever order, delay and repetition the medium chooses, and however small
// the window: no message is handled twice.
func TestF43NothingTwice(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newStage(t, func(c *bus.Config) { c.Window = rapid.IntRange(1, 40).Draw(rt, "window") })
		handled := map[int]int{}
		bus.Handle(s.post, "stop", func(_ context.Context, _ bus.Letter, q question) { handled[q.N]++ })
		var wire [][]byte
		for i := range 40 {
			if rapid.Bool().Draw(rt, "send") || len(wire) == 0 {
				if err := s.out.Send(t.Context(), s.receiver.ID(), "stop", question{N: i}); err != nil {
					rt.Fatal(err)
				}
				wire = append(wire, s.line.sent)
			}
			s.now = s.now.Add(time.Duration(rapid.IntRange(0, 90_000).Draw(rt, "ms")) * time.Millisecond)
			s.post.Take(t.Context(), bus.Delivery{Payload: rapid.SampledFrom(wire).Draw(rt, "copy")})
		}
		for n, times := range handled {
			if times > 1 {
				rt.Fatalf("message %d was handled %d times", n, times)
			}
		}
	})
}

func TestInbox(t *testing.T) {
	in := bus.NewInbox(2)
	for i, want := range []bool{true, true, false, false} {
		if got := in.Put(bus.Delivery{Payload: []byte{byte(i)}}); got != want {
			t.Errorf("Put %d = %v, want %v", i, got, want)
		}
	}
	if n := in.Dropped(); n != 2 {
		t.Errorf("Dropped() = %d, want 2", n)
	}
	var got []byte
	err := in.Receive(t.Context(), func(d bus.Delivery) {
		if got = append(got, d.Payload...); len(got) == 2 {
			in.Close()
		}
	})
	if err != bus.ErrClosed || !slices.Equal(got, []byte{0, 1}) {
		t.Errorf("Receive = %v after %v, want ErrClosed after [0 1]", err, got)
	}
	if in.Put(bus.Delivery{}) {
		t.Error("Put after Close succeeds")
	}
}

// One sender fills its part of an inbox only; what was read makes room again.
func TestInboxIsShared(t *testing.T) {
	in := bus.NewInbox(16)
	put := func(from string) (n int) {
		for in.Put(bus.Delivery{From: identity.ID(from), Payload: []byte("x")}) {
			n++
		}
		return n
	}
	if n := put("flood"); n != 4 {
		t.Errorf("one sender has %d of 16 places, want 4", n)
	}
	if n := put("another"); n != 4 {
		t.Errorf("another has %d, want 4", n)
	}
	ctx, stop := context.WithCancel(t.Context())
	left := 8
	_ = in.Receive(ctx, func(bus.Delivery) {
		if left--; left == 0 {
			stop()
		}
	})
	if n := put("flood"); n != 4 {
		t.Errorf("after all was read it has %d places, want 4", n)
	}
}

func FuzzUnseal(f *testing.F) {
	key := newKey(f)
	line := newCable()
	if err := newPost(f, line, key).Send(f.Context(), newKey(f).ID(), "stop", question{N: 1}); err != nil {
		f.Fatal(err)
	}
	f.Add(line.sent)
	f.Add([]byte{0xa0})
	f.Add(bytes.Repeat([]byte{0x81}, 64))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, _, err := bus.Unseal(b)
		if err == nil && (len(e.ID) != 16 || e.Expiry <= e.Time || len(e.Body) > bus.MaxBody) {
			t.Errorf("Unseal(%x) = %+v", b, e)
		}
	})
}
