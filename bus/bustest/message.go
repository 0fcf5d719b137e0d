package bustest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
)

var messengerTests = []subtest{
	{"an announcement reaches all others", func(t *testing.T, s Subject) {
		a, b, c := join(t, s), join(t, s), join(t, s)
		for _, topic := range bus.Topics() {
			text := "to all on " + string(topic)
			a.announce(t, topic, text, b, c)
			a.never(t, text, b)
		}
	}},
	{"a message reaches one only", func(t *testing.T, s Subject) {
		a, b, c := join(t, s), join(t, s), join(t, s)
		if d := a.tell(t, b, "for b"); d.Topic != "" || d.Gone || d.Kept {
			t.Errorf("a message to one arrives as %s", show(d))
		}
		b.tell(t, a, "for a")
		c.never(t, "for b", a, b)
		c.never(t, "for a", a, b)
	}},
	{"the sender is a hint", func(t *testing.T, s Subject) {
		a, b := join(t, s), join(t, s)
		if d := a.tell(t, b, "x"); d.From != a.id && d.From != "" {
			t.Errorf("From = %s, want %s or nothing", d.From, a.id)
		}
	}},
	{"sizes", testSizes},
	{"arguments are checked", testArguments},
	{"payloads belong to who has them", testPayloads},
	{"one receiver at a time", testReceive},
	{"close twice, and nothing after", testClose},
	{"an ended context", func(t *testing.T, s Subject) {
		a, b := join(t, s), join(t, s)
		a.tell(t, b, "before")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := a.Announce(ctx, bus.TopicNodes, []byte("late")); !errors.Is(err, context.Canceled) {
			t.Errorf("Announce = %v, want context.Canceled", err)
		}
		if err := a.Send(ctx, b.id, []byte("late")); !errors.Is(err, context.Canceled) {
			t.Errorf("Send = %v, want context.Canceled", err)
		}
		a.tell(t, b, "after")
	}},
	{"handle may send", testHandleSends},
	{"many at once", testMany},
	{"who does not receive holds up nobody", testFlood},
	{"a peer that is nowhere", func(t *testing.T, s Subject) {
		a, b := join(t, s), join(t, s)
		a.tell(t, b, "before")
		err := attempt(t.Context(), func(ctx context.Context) error { return a.Send(ctx, newKey(t).ID(), []byte("x")) })
		if err != nil && !errors.Is(err, bus.ErrPeer) {
			t.Errorf("Send = %v, want nil or ErrPeer", err)
		}
		a.tell(t, b, "after")
	}},
	{"F41 the medium restarts", testRestart},
	{"what is kept", testKept},
	{"a loss is told", testGone},
	{"a member comes back", func(t *testing.T, s Subject) {
		key := newKey(t)
		a, b := join(t, s), joinAs(t, s, key)
		a.tell(t, b, "first life")
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		again := joinAs(t, s, key)
		a.tell(t, again, "second life")
		again.tell(t, a, "and back")
	}},
}

func newKey(t *testing.T) identity.Key {
	t.Helper()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func testSizes(t *testing.T, s Subject) {
	a, b := join(t, s), join(t, s)
	for _, n := range []int{1, 2, 127, 128, 1 << 14, bus.MaxMessage} {
		a.tell(t, b, strings.Repeat("\x00\xff", (n+1)/2)[:n])
		a.announce(t, bus.TopicOffers, strings.Repeat("\xff\x00", (n+1)/2)[:n], b)
	}
	for _, n := range []int{0, bus.MaxMessage + 1, 1 << 20} {
		if err := a.Send(t.Context(), b.id, make([]byte, n)); !errors.Is(err, bus.ErrSize) {
			t.Errorf("Send of %d bytes = %v, want ErrSize", n, err)
		}
		if err := a.Announce(t.Context(), bus.TopicNodes, make([]byte, n)); !errors.Is(err, bus.ErrSize) {
			t.Errorf("Announce of %d bytes = %v, want ErrSize", n, err)
		}
	}
}

func testArguments(t *testing.T, s Subject) {
	a := join(t, s)
	for _, topic := range []bus.Topic{"", "#", "+", "nodes/#", "Nodes", "$SYS/x", "nodes\x00", "other"} {
		if err := a.Announce(t.Context(), topic, []byte("x")); !errors.Is(err, bus.ErrTopic) {
			t.Errorf("Announce on %q = %v, want ErrTopic", topic, err)
		}
	}
	for _, to := range []identity.ID{"", "#", "+", a.id, a.id + "/x", identity.ID(strings.Repeat("1", 70000))} {
		if err := a.Send(t.Context(), to, []byte("x")); !errors.Is(err, bus.ErrPeer) {
			t.Errorf("Send to %.60q = %v, want ErrPeer", to, err)
		}
	}
}

func testPayloads(t *testing.T, s Subject) {
	a, b, c := join(t, s), join(t, s), join(t, s)
	a.announce(t, bus.TopicOffers, "ready", b, c)
	payload := []byte("as it was")
	send := func(ctx context.Context) error {
		defer copy(payload, "as it was")
		err := a.Announce(ctx, bus.TopicOffers, payload)
		copy(payload, "changed..")
		return err
	}
	copy(b.gets(t, send, carries("as it was")).Payload, "scribbled")
	c.gets(t, send, carries("as it was"))
	b.never(t, "changed..", a)
	c.never(t, "changed..", a)
	c.never(t, "scribbled", a)
}

func testReceive(t *testing.T, s Subject) {
	a, b := s.Join(t, newKey(t)), join(t, s)
	defer a.Close()
	join(t, s).tell(t, b, "are you there") // it receives now
	if err := b.Receive(t.Context(), func(bus.Delivery) {}); !errors.Is(err, bus.ErrReceiving) {
		t.Errorf("a second Receive = %v, want ErrReceiving", err)
	}
	for range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- a.Receive(ctx, func(bus.Delivery) {}) }()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Receive = %v, want context.Canceled", err)
		}
	}
}

func testClose(t *testing.T, s Subject) {
	a, b := join(t, s), join(t, s)
	a.tell(t, b, "before")
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			if err := a.Close(); err != nil {
				t.Errorf("Close = %v", err)
			}
		})
	}
	both.Wait()
	if err := a.Close(); err != nil {
		t.Errorf("a further Close = %v", err)
	}
	if err := a.Announce(t.Context(), bus.TopicNodes, []byte("x")); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("Announce = %v, want ErrClosed", err)
	}
	if err := a.Send(t.Context(), b.id, []byte("x")); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("Send = %v, want ErrClosed", err)
	}
	if err := a.Receive(t.Context(), func(bus.Delivery) {}); !errors.Is(err, bus.ErrClosed) && !errors.Is(err, bus.ErrReceiving) {
		t.Errorf("Receive = %v, want ErrClosed", err)
	}
}

func testHandleSends(t *testing.T, s Subject) {
	a := join(t, s)
	key := newKey(t)
	echo := s.Join(t, key)
	var done sync.WaitGroup
	done.Go(func() {
		_ = echo.Receive(context.WithoutCancel(t.Context()), func(d bus.Delivery) {
			if string(d.Payload) == "ping" {
				_ = attempt(t.Context(), func(ctx context.Context) error { return echo.Send(ctx, a.id, []byte("pong")) })
			}
		})
	})
	defer done.Wait()
	defer echo.Close()
	a.gets(t, func(ctx context.Context) error { return a.Send(ctx, key.ID(), []byte("ping")) }, carries("pong"))
}

func testMany(t *testing.T, s Subject) {
	a, b, c := join(t, s), join(t, s), join(t, s)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := range 5 {
				text := fmt.Sprintf("%d of %d", n, i)
				a.tell(t, b, text+" from a")
				b.tell(t, c, text+" from b")
				c.announce(t, bus.TopicOffers, text+" from c", a, b)
			}
		})
	}
	all.Wait()
}

func testFlood(t *testing.T, s Subject) {
	a, b := join(t, s), join(t, s)
	key := newKey(t)
	deaf := s.Join(t, key)
	defer deaf.Close()
	a.tell(t, b, "before")
	for range 600 {
		err := attempt(t.Context(), func(ctx context.Context) error { return a.Send(ctx, key.ID(), make([]byte, 1024)) })
		late := errors.Is(err, context.DeadlineExceeded) && t.Context().Err() == nil // the attempt's own
		if err != nil && !late && !errors.Is(err, bus.ErrUnavailable) && !errors.Is(err, bus.ErrPeer) {
			t.Fatalf("Send = %v", err)
		}
	}
	a.tell(t, b, "after")
	heard := &member{Messenger: deaf, id: key.ID(), news: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() { _ = deaf.Receive(ctx, heard.see) })
	a.tell(t, heard, "now it listens")
	cancel()
	done.Wait()
}
