// Package bustest is the conformance suite of package bus.
//
//	func TestConformance(t *testing.T) {
//		bustest.Run(t, func(t *testing.T) bustest.Subject {
//			nw := memory.New(memory.Config{})
//			return bustest.Subject{Join: func(t *testing.T, key identity.Key) bus.Messenger {
//				m, err := nw.Join(key.ID())
//				...
//				return m
//			}}
//		})
//	}
//
// The tests of streams run when what Join returns is a bus.Bus. All tests hold
// for a medium that loses, doubles and reorders: what is to arrive is sent
// until it does, and what may not arrive is looked for at the end.
package bustest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
)

// Subject is a medium without members.
type Subject struct {
	// Join adds a member that reaches all others of the subject, as soon as
	// they are there. The suite closes it.
	Join func(t *testing.T, key identity.Key) bus.Messenger
	// Stop ends the medium and Start starts it again, for the members that
	// are joined. nil: it has no part that could be stopped.
	Stop, Start func(t *testing.T)
	// Kill ends a member without a goodbye; nil: it cannot be done.
	Kill func(t *testing.T, m bus.Messenger)
	// Keeps says that members that come later get what is kept, and Tells
	// that the loss of a member is told.
	Keeps, Tells bool
}

type subtest struct {
	name string
	run  func(t *testing.T, s Subject)
}

// Run runs the suite; open makes a fresh subject for each test.
func Run(t *testing.T, open func(t *testing.T) Subject) {
	for _, tt := range messengerTests {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, open(t)) })
	}
	t.Run("stream", func(t *testing.T) {
		if probe := join(t, open(t)); !probe.streams() {
			t.Skip("this medium has no streams of its own")
		}
		for _, tt := range streamTests {
			t.Run(tt.name, func(t *testing.T) { tt.run(t, open(t)) })
		}
	})
}

// patience bounds each wait of the suite; only what fails needs all of it.
const patience = 30 * time.Second

// member receives all that comes for it.
type member struct {
	bus.Messenger
	id identity.ID

	mu   sync.Mutex
	seen []bus.Delivery
	news chan struct{} // holds one signal: something was seen
}

func join(t *testing.T, s Subject) *member {
	t.Helper()
	return joinAs(t, s, newKey(t))
}

func joinAs(t *testing.T, s Subject, key identity.Key) *member {
	t.Helper()
	m := &member{Messenger: s.Join(t, key), id: key.ID(), news: make(chan struct{}, 1)}
	var received sync.WaitGroup
	received.Go(func() {
		err := m.Receive(context.WithoutCancel(t.Context()), m.see)
		if !errors.Is(err, bus.ErrClosed) {
			t.Errorf("Receive = %v, want ErrClosed after Close", err)
		}
	})
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
		received.Wait()
	})
	return m
}

func (m *member) see(d bus.Delivery) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seen = append(m.seen, d)
	select {
	case m.news <- struct{}{}:
	default:
	}
}

// has returns the first delivery seen so far that is wanted.
func (m *member) has(wanted func(bus.Delivery) bool) (bus.Delivery, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range m.seen {
		if wanted(d) {
			return d, true
		}
	}
	return bus.Delivery{}, false
}

// gets waits until what is wanted was seen, and repeats send until then.
func (m *member) gets(t *testing.T, send func(context.Context) error, wanted func(bus.Delivery) bool) bus.Delivery {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	var last error
	for {
		if send != nil {
			last = attempt(ctx, send)
			if last != nil && !errors.Is(last, bus.ErrUnavailable) && !errors.Is(last, bus.ErrPeer) && !errors.Is(last, context.DeadlineExceeded) {
				t.Fatalf("sending: %v", last)
			}
		}
		for waiting := true; waiting; {
			if d, ok := m.has(wanted); ok {
				return d
			}
			select {
			case <-m.news:
			case <-again.C:
				waiting = send == nil
			case <-ctx.Done():
				t.Fatalf("nothing arrived in %v; last error of the sender: %v", patience, last)
			}
		}
	}
}

// attempt bounds one try.
func attempt(ctx context.Context, send func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	return send(ctx)
}

func show(d bus.Delivery) string {
	return fmt.Sprintf("{topic %q from %q kept %v gone %v, %d bytes: %.40q}", d.Topic, d.From, d.Kept, d.Gone, len(d.Payload), d.Payload)
}

func carries(text string) func(bus.Delivery) bool {
	return func(d bus.Delivery) bool { return string(d.Payload) == text }
}

// tell sends text to one until it is there.
func (m *member) tell(t *testing.T, to *member, text string) bus.Delivery {
	t.Helper()
	return to.gets(t, func(ctx context.Context) error { return m.Send(ctx, to.id, []byte(text)) }, carries(text))
}

// announce announces text until all of others have it.
func (m *member) announce(t *testing.T, topic bus.Topic, text string, others ...*member) {
	t.Helper()
	for _, o := range others {
		d := o.gets(t, func(ctx context.Context) error { return m.Announce(ctx, topic, []byte(text)) }, carries(text))
		if d.Topic != topic || d.Gone {
			t.Errorf("an announcement on %s arrives as %s", topic, show(d))
		}
	}
}

// never fails the test when m has seen text, after what each of others sends
// last has arrived.
func (m *member) never(t *testing.T, text string, others ...*member) {
	t.Helper()
	for _, o := range others {
		for _, fence := range []string{"fence 1", "fence 2"} {
			o.tell(t, m, fence+" of "+string(o.id))
		}
	}
	if d, ok := m.has(carries(text)); ok {
		t.Errorf("%q arrived where it should not: %s", text, show(d))
	}
}
