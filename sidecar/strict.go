package sidecar

import (
	"context"
	"errors"

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
// strict jobs. While one does not answer, what was known before stays.
func (s *Sidecar) learnStrict(ctx context.Context) {
	var strict string
	var silent error
	for _, m := range s.members() {
		info, err := m.Info(ctx)
		silent = errors.Join(silent, err)
		if err == nil && strict == "" {
			strict = info.Strict
		}
	}
	if strict == "" && silent != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.strict = strict
}

// learnStrictFor looks once more before a strict job would be refused: its user
// may have mended the engine just now.
func (s *Sidecar) learnStrictFor(ctx context.Context, spec jobspec.Spec) {
	if spec.Isolation == jobspec.IsolationStrict && s.Strict() == "" {
		s.learnStrict(ctx)
	}
}

// cannotRun is the refusal of a spec that no node runs, with the way to a strict one.
func cannotRun(spec jobspec.Spec, unfit jobspec.Unfit) error {
	f := unfit.Nobody()
	if spec.Isolation == jobspec.IsolationStrict {
		f.Hint += "; for isolation: strict a node's engine needs gVisor's runsc, which scripts/runsc.sh registers, or what the setting strict-runtime names; ipdc doctor shows what it has"
	}
	return f.Error()
}
