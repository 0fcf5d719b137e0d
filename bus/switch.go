package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/ipdc/ipdc/identity"
)

// Switch is a Bus whose medium is replaced while others use it, as when the
// secret of a domain's network changes. Without a medium calls get
// ErrUnavailable, and Receive waits for one. Handlers pass over to each medium.
// Make one with NewSwitch.
type Switch struct {
	receiving atomic.Bool

	mu       sync.Mutex
	now      Bus           // nil: none
	changed  chan struct{} // closed and made anew by each Set
	closed   bool
	handlers map[Protocol]func(context.Context, Stream)
}

var _ Bus = (*Switch)(nil)

// NewSwitch returns a switch without a medium.
func NewSwitch() *Switch {
	return &Switch{changed: make(chan struct{}), handlers: map[Protocol]func(context.Context, Stream){}}
}

// Set takes another medium, nil for none, and closes the one before.
func (s *Switch) Set(b Bus) error {
	s.mu.Lock()
	old := s.now
	if s.closed {
		old = b // there is nothing to set any more
	} else {
		s.now = b
		close(s.changed)
		s.changed = make(chan struct{})
		for p, h := range s.handlers {
			if b != nil {
				b.Handle(p, h)
			}
		}
	}
	s.mu.Unlock()
	if old == nil {
		return nil
	}
	return old.Close()
}

// medium returns what messages go by now, and what tells when that changes.
func (s *Switch) medium() (Bus, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, s.changed, ErrClosed
	case s.now == nil:
		return nil, s.changed, fmt.Errorf("%w: this node is on no network", ErrUnavailable)
	}
	return s.now, s.changed, nil
}

// replaced turns the end of a medium into what it is for who uses the switch.
func (s *Switch) replaced(err error) error {
	if !errors.Is(err, ErrClosed) {
		return err
	}
	if _, _, own := s.medium(); errors.Is(own, ErrClosed) {
		return ErrClosed
	}
	return fmt.Errorf("%w: the network is being changed", ErrUnavailable)
}

// Announce implements Messenger.
func (s *Switch) Announce(ctx context.Context, topic Topic, payload []byte) error {
	if err := CheckAnnounce(topic, payload); err != nil {
		return err
	}
	b, _, err := s.medium()
	if err != nil {
		return err
	}
	return s.replaced(b.Announce(ctx, topic, payload))
}

// Send implements Messenger.
func (s *Switch) Send(ctx context.Context, to identity.ID, payload []byte) error {
	b, _, err := s.medium()
	if err != nil {
		return err
	}
	return s.replaced(b.Send(ctx, to, payload))
}

// Receive implements Messenger.
func (s *Switch) Receive(ctx context.Context, handle func(Delivery)) error {
	if !s.receiving.CompareAndSwap(false, true) {
		return ErrReceiving
	}
	defer s.receiving.Store(false)
	for {
		b, changed, err := s.medium()
		if errors.Is(err, ErrClosed) {
			return err
		}
		if b != nil {
			if err := b.Receive(ctx, handle); !errors.Is(err, ErrClosed) {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// Close implements Messenger; it closes the medium.
func (s *Switch) Close() error {
	s.mu.Lock()
	old := s.now
	if !s.closed {
		s.now, s.closed = nil, true
		close(s.changed)
		s.changed = make(chan struct{})
	}
	s.mu.Unlock()
	if old == nil {
		return nil
	}
	return old.Close()
}

// Stream implements Streams.
func (s *Switch) Stream(ctx context.Context, to identity.ID, p Protocol) (Stream, error) {
	b, _, err := s.medium()
	if err != nil {
		return nil, err
	}
	st, err := b.Stream(ctx, to, p)
	return st, s.replaced(err)
}

// Handle implements Streams.
func (s *Switch) Handle(p Protocol, h func(context.Context, Stream)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h == nil {
		delete(s.handlers, p)
	} else {
		s.handlers[p] = h
	}
	if s.now != nil {
		s.now.Handle(p, h)
	}
}

// Peers implements Streams.
func (s *Switch) Peers() []Peer {
	b, _, err := s.medium()
	if err != nil {
		return nil
	}
	return b.Peers()
}
