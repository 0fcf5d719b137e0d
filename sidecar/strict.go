package sidecar

import (
	"context"
	"errors"
	"fmt"

	"github.com/ipdc/ipdc/jobspec"
)

// Strict is what gives strict jobs a kernel of their own on this node, such as
// "runsc"; "" when nothing does.
func (s *Sidecar) Strict() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.strict
}

// learnStrict asks the executors whether one of them has a kernel of its own for
// strict jobs. While one does not answer and no other has any, what was known
// before stays, and the error says who did not answer: then nobody knows.
func (s *Sidecar) learnStrict(ctx context.Context) error {
	look, cancel := context.WithTimeout(ctx, engineLook)
	defer cancel()
	var strict string
	var silent error
	for _, m := range s.members() {
		info, err := m.Info(look)
		silent = errors.Join(silent, err)
		if err == nil && strict == "" {
			strict = info.Strict
		}
	}
	if strict != "" {
		silent = nil
	}
	if ctx.Err() != nil && silent != nil {
		return silent // it is the caller who is gone
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silent = silent
	if silent == nil {
		s.strict = strict
	}
	return silent
}

// learnStrictFor looks once more before a strict job would be refused: its user
// may have mended the engine just now, or the node has only just begun. The
// error is learnStrict's.
func (s *Sidecar) learnStrictFor(ctx context.Context, spec jobspec.Spec) error {
	if !s.wantsStrict(spec) {
		return nil
	}
	return s.learnStrict(ctx)
}

// wantsStrict says of a strict job that nothing is known to run it here.
func (s *Sidecar) wantsStrict(spec jobspec.Spec) bool {
	return spec.Isolation == jobspec.IsolationStrict && s.Strict() == ""
}

// awaitStrict calls try until it returns nil, for as long as an engine is waited
// for. That is for what was accepted before, by this process or by an earlier one.
func (d *driver) awaitStrict(ctx context.Context, try func() error) error {
	err := d.patiently(ctx, try)
	if err == nil || refusal(err) != nil || ctx.Err() != nil {
		return causeOr(ctx, err)
	}
	return noEngine(jobspec.Failure{Where: "isolation", Detail: fmt.Sprintf("in %s: %v", d.cfg.Patience, err)})
}

// cannotRun is the refusal of a spec that no node runs, with the way to a strict one.
func (s *Sidecar) cannotRun(spec jobspec.Spec, unfit jobspec.Unfit) error {
	f := unfit.Nobody()
	if spec.Isolation != jobspec.IsolationStrict {
		return f.Error()
	}
	f.Hint += "; for isolation: strict a node's engine needs gVisor's runsc, which scripts/runsc.sh of ipdc's source registers, or what the setting strict-runtime names; ipdc doctor shows what it has"
	s.mu.Lock()
	silent := s.silent
	s.mu.Unlock()
	if s.wantsStrict(spec) && silent != nil {
		f.Detail += "; what this node has is not known: " + silent.Error()
	}
	return f.Error()
}
