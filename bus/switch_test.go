package bus_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/bus/bustest"
	"github.com/ipdc/ipdc/bus/memory"
	"github.com/ipdc/ipdc/identity"
)

// A switch with a medium is a bus as any other.
func TestSwitchConformance(t *testing.T) {
	bustest.Run(t, func(t *testing.T) bustest.Subject {
		nw := memory.New(memory.Config{})
		return bustest.Subject{
			Join: func(t *testing.T, key identity.Key) bus.Messenger {
				b, err := nw.Join(key.ID())
				if err != nil {
					t.Fatal(err)
				}
				s := bus.NewSwitch()
				if err := s.Set(b); err != nil {
					t.Fatal(err)
				}
				return s
			},
			Stop:  func(*testing.T) { nw.Stop() },
			Start: func(*testing.T) { nw.Start() },
			Keeps: true, Tells: true,
		}
	})
}

// Who receives and who handles streams goes on over the next medium; between
// two there is an error that says to try again.
func TestSwitchReplaced(t *testing.T) {
	a, b := newSwitched(t), newSwitched(t)
	got := make(chan string, 16)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Receive(ctx, func(d bus.Delivery) { got <- string(d.Payload) }) }()
	a.Handle("echo/1", func(_ context.Context, s bus.Stream) { _, _ = io.Copy(s, s) })
	if err := b.Send(ctx, a.id, []byte("x")); !errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("Send without a medium = %v, want ErrUnavailable", err)
	}
	for _, word := range []string{"first", "second"} {
		nw := memory.New(memory.Config{})
		a.enter(t, nw)
		b.enter(t, nw)
		if err := b.Send(ctx, a.id, []byte(word)); err != nil {
			t.Fatal(err)
		}
		if text := <-got; text != word {
			t.Errorf("received %q, want %q", text, word)
		}
		s, err := b.Stream(ctx, a.id, "echo/1")
		if err != nil {
			t.Fatalf("stream on the %s medium: %v", word, err)
		}
		_ = s.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := s.Write([]byte(word)); err != nil {
			t.Fatal(err)
		}
		_ = s.CloseWrite()
		if back, err := io.ReadAll(s); string(back) != word || err != nil {
			t.Errorf("echo = %q, %v; want %q", back, err, word)
		}
		_ = s.Close()
	}
	if err := a.Set(nil); err != nil || a.Peers() != nil {
		t.Errorf("Set(nil) = %v, Peers() = %v", err, a.Peers())
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Receive = %v, want that of its context", err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if err := a.Announce(t.Context(), bus.TopicNodes, []byte("x")); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("Announce after Close = %v, want ErrClosed", err)
	}
	late := memory.New(memory.Config{})
	end, err := late.Join(a.id)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Set(end); err != nil {
		t.Error(err)
	}
	if err := end.Send(t.Context(), b.id, []byte("x")); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("a medium that is set after Close lives: %v", err)
	}
}

type switched struct {
	*bus.Switch
	id identity.ID
}

func newSwitched(t *testing.T) switched {
	t.Helper()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	s := switched{bus.NewSwitch(), key.ID()}
	t.Cleanup(func() { s.Close() })
	return s
}

func (s switched) enter(t *testing.T, nw *memory.Network) {
	t.Helper()
	b, err := nw.Join(s.id)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Set(b); err != nil {
		t.Fatal(err)
	}
}
