package sidecar

import (
	"context"
	"sync"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

// gate holds the programs of a gang's tasks until all of the gang is there, and
// says when the gang has done its work.
type gate struct {
	arrived func(jobspec.AttemptID) // a container is made; may be called again, and by many

	once   [2]sync.Once
	opened chan struct{} // closed by open: programs start
	over   chan struct{} // closed by end: who still runs is stopped, and has not failed
}

func newGate(arrived func(jobspec.AttemptID)) *gate {
	return &gate{arrived: arrived, opened: make(chan struct{}), over: make(chan struct{})}
}

func (g *gate) open() { g.once[0].Do(func() { close(g.opened) }) }

func (g *gate) end() { g.once[1].Do(func() { close(g.over) }) }

func (g *gate) isOpen() bool { return g != nil && isClosed(g.opened) }

func (g *gate) isOver() bool { return g != nil && isClosed(g.over) }

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// pass waits until the gate is open. Without a gang there is none.
func (g *gate) pass(ctx context.Context, id jobspec.AttemptID) error {
	if g == nil {
		return nil
	}
	g.arrived(id)
	select {
	case <-g.opened:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// moves does what the owner of a gang says of its gate.
func (g *gate) moves(open, over bool) {
	if g == nil {
		return
	}
	if open {
		g.open()
	}
	if over {
		g.end()
	}
}

// setGate gives the driver of another node's gang's task its gate.
func (d *driver) setGate() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.gate = newGate(func(jobspec.AttemptID) { d.started() })
}

// gateMoved takes what the owner of a gang says at once. Who does not hear it
// learns it from the answer to its next beat.
func (s *Sidecar) gateMoved(ctx context.Context, l bus.Letter, m wire.Gate) {
	var id jobspec.JobID
	err := s.cfg.Store.View(ctx, func(tx *store.Tx) (err error) {
		id, _, _, err = tx.IdempotencyKey(originTenant(l.From.String()), m.Attempt+"/"+m.Token)
		return err
	})
	if err != nil {
		s.log.Warn("gate of a gang", "attempt", m.Attempt, "err", err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.drivers[id]; d != nil {
		d.gate.moves(m.Open, m.Over)
	}
}
