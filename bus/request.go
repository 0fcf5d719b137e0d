package bus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
)

// reply is the body of an answer: one of both.
type reply struct {
	Failure *jobspec.Failure `cbor:"failure,omitempty"`
	Value   cbor.RawMessage  `cbor:"value,omitempty"`
}

// pending is a request that waits.
type pending struct {
	to     identity.ID
	answer chan<- reply // holds one
}

// Answer makes h take the requests of one type. Its error goes back as a
// jobspec.Failure. The same request can come more than once, under another id,
// when an answer was late: h answers alike.
func Answer[Q, R any](p *Post, typ Type, h func(ctx context.Context, l Letter, q Q) (R, error)) {
	Handle(p, typ, func(ctx context.Context, l Letter, q Q) {
		var back reply
		r, err := h(ctx, l, q)
		if err == nil {
			back.Value, err = jobspec.EncodeCBOR(r)
		}
		if err != nil {
			f := jobspec.AsFailure(err)
			back = reply{Failure: &f}
		}
		e := Envelope{To: l.From, Type: typ, Re: l.id}
		message, _, err := p.seal(e, back, 0)
		if err != nil { // without an answer the other side would ask again, for nothing
			f := unsealed(err)
			message, _, err = p.seal(e, reply{Failure: &f}, 0)
		}
		if err == nil {
			err = p.m.Send(ctx, l.From, message)
		}
		if err != nil { // the other side asks again
			p.cfg.Logger.Warn("answer not sent", "type", string(typ), "node", l.From.Short(), "err", err)
		}
	})
}

// unsealed is the answer when there is one that cannot be sent.
func unsealed(err error) jobspec.Failure {
	if errors.Is(err, ErrSize) {
		err = jobspec.KindLimit.Errorf("the answer is too long: %v", err)
	}
	return jobspec.AsFailure(err)
}

// Request sends q to one member and returns its answer. It asks again, after
// Resend and then ever more rarely, until ctx ends, also while the member cannot
// be reached; the error then is that of ctx, and why the last message was not
// sent, or that the member's clock is wrong (E_CLOCK). The failure that the member answers is an error too: see
// jobspec.AsFailure.
func Request[R, Q any](ctx context.Context, p *Post, to identity.ID, typ Type, q Q) (R, error) {
	var r R
	raw, err := p.request(ctx, to, typ, q)
	if err == nil {
		err = lenient.Unmarshal(raw, &r)
	}
	if err != nil {
		return r, fmt.Errorf("ask %s for %s: %w", to, typ, err)
	}
	return r, nil
}

func (p *Post) request(ctx context.Context, to identity.ID, typ Type, q any) (cbor.RawMessage, error) {
	answer := make(chan reply, 1)
	for wait := p.cfg.Resend; ; wait *= 2 {
		message, id, err := p.seal(Envelope{To: to, Type: typ}, q, 0)
		if err != nil {
			return nil, err
		}
		if err := CheckSend(p.self, to, message); err != nil { // it will never do
			return nil, err
		}
		defer p.expect(id, to, answer)()
		last := p.m.Send(ctx, to, message)
		if last != nil && !errors.Is(last, ErrUnavailable) && !errors.Is(last, ErrPeer) {
			return nil, last
		}
		again := time.NewTimer(wait + rand.N(wait/4+1))
		select {
		case <-ctx.Done():
			again.Stop()
			return nil, errors.Join(ctx.Err(), last, p.clockOf(to))
		case <-again.C:
		case a := <-answer:
			again.Stop()
			if a.Failure != nil {
				return nil, a.Failure.Error()
			}
			return a.Value, nil
		}
	}
}

// expect makes answer take the reply to id; the function it returns ends that.
func (p *Post) expect(id [idLen]byte, to identity.ID, answer chan<- reply) func() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pending[id] = pending{to, answer}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.pending, id)
	}
}

// settle hands a reply to who waits for it: the first one from the member that
// was asked.
func (p *Post) settle(e Envelope) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w, ok := p.pending[[idLen]byte(e.Re)]
	if !ok || w.to != e.From || e.To != p.self {
		p.drop(DropReply, e.From, nil)
		return
	}
	var r reply
	if err := lenient.Unmarshal(e.Body, &r); err != nil || (r.Failure == nil) == (r.Value == nil) {
		p.drop(DropBody, e.From, err)
		return
	}
	select {
	case w.answer <- r:
	default: // an earlier answer is there
	}
}
