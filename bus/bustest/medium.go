package bustest

import (
	"context"
	"errors"
	"testing"

	"github.com/ipdc/ipdc/bus"
)

func testRestart(t *testing.T, s Subject) {
	if s.Stop == nil {
		t.Skip("this medium has no part that could be stopped")
	}
	a, b := join(t, s), join(t, s)
	for _, life := range []string{"first", "second", "third"} {
		a.tell(t, b, life+" life")
		b.announce(t, bus.TopicNodes, life+" life of b", a)
		s.Stop(t)
		err := attempt(t.Context(), func(ctx context.Context) error { return a.Send(ctx, b.id, []byte("lost")) })
		if !errors.Is(err, bus.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Send without the medium = %v, want ErrUnavailable or the end of its context", err)
		}
		s.Start(t)
	}
	a.tell(t, b, "at last")
	b.tell(t, a, "and back")
}

func testKept(t *testing.T, s Subject) {
	if !s.Keeps {
		t.Skip("this medium keeps nothing")
	}
	a, b := join(t, s), join(t, s)
	a.announce(t, bus.TopicNodes, "a is new", b)
	a.announce(t, bus.TopicNodes, "a is old", b)
	a.announce(t, bus.TopicOffers, "an offer", b)

	late := join(t, s)
	if d := late.gets(t, nil, carries("a is old")); !d.Kept || d.Topic != bus.TopicNodes {
		t.Errorf("what was kept arrives as %s", show(d))
	}
	late.never(t, "a is new", a, b)
	late.never(t, "an offer", a, b)

	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	b.gets(t, nil, func(d bus.Delivery) bool { return d.Gone && (d.From == a.id || d.From == "") })
	join(t, s).never(t, "a is old", b)
}

func testGone(t *testing.T, s Subject) {
	if !s.Tells || s.Kill == nil {
		t.Skip("this medium tells no loss")
	}
	a, b, c := join(t, s), join(t, s), join(t, s)
	a.tell(t, b, "hello")
	a.tell(t, c, "hello")
	s.Kill(t, a.Messenger)
	for _, m := range []*member{b, c} {
		d := m.gets(t, nil, func(d bus.Delivery) bool { return d.Gone })
		if d.From != a.id || len(d.Payload) != 0 || d.Topic != "" {
			t.Errorf("the loss of %s is told as %s", a.id, show(d))
		}
	}
	b.tell(t, c, "we go on")
}
