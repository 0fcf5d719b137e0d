package sidecar

import (
	"time"

	"github.com/ipdc/ipdc/jobspec"
)

// stopwatch tells how long each phase of an attempt takes. Each begins where the
// one before it ended, so that what is written between two of them is in the
// later one.
type stopwatch struct {
	at    time.Time // the last phase ended; zero = it does not run
	spent jobspec.Phases
}

// start begins the first phase, or the next one of an attempt of an earlier
// process, whose time in between is nobody's.
func (w *stopwatch) start(now time.Time, before jobspec.Phases) {
	w.at, w.spent = now, before
}

// lap ends a phase.
func (w *stopwatch) lap(now time.Time, phase func(*jobspec.Phases) *jobspec.Duration) {
	if d := phase(&w.spent); !w.at.IsZero() {
		*d += max(0, jobspec.Duration(now.Sub(w.at))) // clocks are set
	}
	w.at = now
}

// The phases that do not end with a state of the attempt.
func waited(p *jobspec.Phases) *jobspec.Duration  { return &p.Waited }
func brought(p *jobspec.Phases) *jobspec.Duration { return &p.Brought }

// reached is the phase that ends with a state.
func reached(s jobspec.AttemptState) func(*jobspec.Phases) *jobspec.Duration {
	return func(p *jobspec.Phases) *jobspec.Duration {
		switch s {
		case jobspec.AttemptStaged:
			return &p.Staged
		case jobspec.AttemptImage:
			return &p.Mounted
		case jobspec.AttemptCreated:
			return &p.Created
		case jobspec.AttemptRunning:
			return &p.Begun
		case jobspec.AttemptExited:
			return &p.Ran
		case jobspec.AttemptPackaged:
			return &p.Packed
		}
		return &p.Recorded
	}
}
