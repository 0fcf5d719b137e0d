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

// beaten takes a sign of life.
func (s *Sidecar) beaten(_ context.Context, l bus.Letter, b wire.Beat) (wire.Beating, error) {
	a := s.awaited(l.From, b.Attempt, b.Token)
	if a == nil {
		return wire.Beating{}, leaseLost(b.Attempt)
	}
	select {
	case a.beats <- b:
	default: // an earlier one has not been read yet
	}
	return wire.Beating{}, nil
}

// reported takes the end of an attempt. The member asks again until it is in
// the record.
func (s *Sidecar) reported(ctx context.Context, l bus.Letter, p wire.Report) (wire.Reported, error) {
	id, err := jobspec.ParseAttemptID(p.Attempt)
	if err != nil {
		return wire.Reported{}, leaseLost(p.Attempt)
	}
	if a := s.awaited(l.From, p.Attempt, p.Token); a != nil {
		select {
		case a.ends <- p.Outcome:
		default:
		}
		return wire.Reported{}, nil
	}
	var att jobspec.Attempt
	err = s.cfg.Store.View(ctx, func(tx *store.Tx) (err error) {
		att, err = tx.Attempt(id)
		return err
	})
	switch {
	case errors.Is(err, jobspec.KindNotFound.Error()):
		return wire.Reported{}, leaseLost(p.Attempt)
	case err != nil:
		return wire.Reported{}, err
	case att.Token != p.Token || att.Node != l.From.String() || att.State == jobspec.AttemptAbandoned:
		return wire.Reported{}, leaseLost(p.Attempt)
	}
	return wire.Reported{Taken: reported(att)}, nil
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
