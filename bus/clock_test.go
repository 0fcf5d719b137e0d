package bus_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/internal/refusal"
	"github.com/ipdc/ipdc/jobspec"
)

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
