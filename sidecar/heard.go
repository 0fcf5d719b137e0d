package sidecar

import (
	"context"
	"errors"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

// What members say of the attempts that they make for this node.

// beaten takes a sign of life. That of an attempt whose report is in the record
// comes from a member that is about to hear so.
func (s *Sidecar) beaten(ctx context.Context, l bus.Letter, b wire.Beat) (wire.Beating, error) {
	a := s.awaited(l.From, b.Attempt, b.Token)
	if a == nil {
		_, err := s.inRecordOf(ctx, l.From, b.Attempt, b.Token)
		return wire.Beating{}, err
	}
	s.told(a, b)
	select {
	case a.beats <- b:
	default: // an earlier one has not been read yet
	}
	if a.gate == nil {
		return wire.Beating{}, nil
	}
	if b.Ready || b.Ran > 0 {
		a.gate.arrived(a.id)
	}
	return wire.Beating{Open: a.gate.isOpen(), Over: a.gate.isOver()}, nil
}

// told keeps what a member last said of an attempt.
func (s *Sidecar) told(a *away, b wire.Beat) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a.items = b.ItemsDone
	if b.Ran > 0 {
		a.began = s.now().Add(-b.Ran.Std())
	}
}

// asTold shows attempts that members make as they last said, which is in no
// record.
func (s *Sidecar) asTold(list []jobspec.Attempt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range list {
		at := &list[i]
		if a := s.away[at.ID]; a != nil && a.token == at.Token && at.State == jobspec.AttemptLeased && !a.began.IsZero() {
			at.State, at.Started, at.ItemsDone = jobspec.AttemptRunning, a.began, a.items
		}
	}
}

// reported takes the end of an attempt. The member asks again until it is in
// the record.
func (s *Sidecar) reported(ctx context.Context, l bus.Letter, p wire.Report) (wire.Reported, error) {
	if a := s.awaited(l.From, p.Attempt, p.Token); a != nil {
		select {
		case a.ends <- p.Outcome:
		default:
		}
		return wire.Reported{}, nil
	}
	in, err := s.inRecordOf(ctx, l.From, p.Attempt, p.Token)
	return wire.Reported{Taken: in}, err
}

// inRecordOf reports whether a member's attempt that nobody waits for has its
// report in the record; false for one that is to be waited for again. Any other
// is refused with E_LEASE_LOST.
func (s *Sidecar) inRecordOf(ctx context.Context, from identity.ID, attempt, token string) (bool, error) {
	id, err := jobspec.ParseAttemptID(attempt)
	if err != nil {
		return false, leaseLost(attempt)
	}
	var att jobspec.Attempt
	err = s.cfg.Store.View(ctx, func(tx *store.Tx) (err error) {
		att, err = tx.Attempt(id)
		return err
	})
	switch {
	case errors.Is(err, jobspec.KindNotFound.Error()):
		return false, leaseLost(attempt)
	case err != nil:
		return false, err
	case att.Token != token || att.Node != from.String() || att.State == jobspec.AttemptAbandoned:
		return false, leaseLost(attempt)
	}
	return reported(att), nil
}

// awaited returns the attempt that a member makes, or nil.
func (s *Sidecar) awaited(from identity.ID, attempt, token string) *away {
	id, err := jobspec.ParseAttemptID(attempt)
	if err != nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.away[id]; a != nil && a.node == from && a.token == token {
		return a
	}
	return nil
}
