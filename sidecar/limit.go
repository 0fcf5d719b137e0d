package sidecar

import (
	"context"

	"github.com/ipdc/ipdc/jobspec"
)

// inTime calls read with a context that ends when the time for one input is
// over, and names the setting then.
func (s *Sidecar) inTime(ctx context.Context, read func(context.Context) error) error {
	if t := s.cfg.Budget.Time; t > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, t, jobspec.KindFetchTimeout.Errorf("it was not read within %s", t))
		defer cancel()
	}
	err := read(ctx)
	if err == nil || ctx.Err() == nil {
		return err
	}
	return inputLimit(context.Cause(ctx))
}

// inputLimit names the setting behind the bound that an input has passed.
func inputLimit(err error) error {
	if err == nil || outside(err) {
		return err
	}
	f := jobspec.AsFailure(err)
	switch {
	case f.Hint != "":
	case f.Kind == jobspec.KindLimitEntries, f.Kind == jobspec.KindLimit:
		f.Hint = "give a part of it (-c CID/path), pack small files together, or raise the node's bound: ipdc node start --input-entries N"
	case f.Kind == jobspec.KindLimitBytes:
		f.Hint = "give a part of it (-c CID/path), or raise the node's bound: ipdc node start --input-bytes N"
	case f.Kind == jobspec.KindDepth:
		f.Hint = "give a part of it (-c CID/path), or raise the node's settings input-levels and input-blocks"
	case f.Kind == jobspec.KindFetchTimeout:
		f.Hint = "give a part of it (-c CID/path), or raise the node's setting input-time"
	default:
		return err
	}
	return f.Error()
}
