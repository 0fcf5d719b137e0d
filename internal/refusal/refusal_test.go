package refusal_test

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/internal/refusal"
	"github.com/ipdc/ipdc/jobspec"
)

// recorder is a test of another name that notes what it is told.
type recorder struct {
	testing.TB
	name   string
	skip   bool
	end    []func()
	errors []string
}

func (r *recorder) Name() string              { return r.name }
func (r *recorder) Helper()                   {}
func (r *recorder) Skipped() bool             { return r.skip }
func (r *recorder) Cleanup(f func())          { r.end = append(r.end, f) }
func (r *recorder) Errorf(f string, a ...any) { r.errors = append(r.errors, fmt.Sprintf(f, a...)) }

func TestProduces(t *testing.T) {
	full := jobspec.KindQuota.Errorf("the disk is full")
	for name, c := range map[string]struct {
		err   error // what comes up; nil = nothing
		at    string
		asked jobspec.Kind
		skip  bool
		fails bool
	}{
		"kept":                 {err: full, at: "TestA", asked: jobspec.KindQuota},
		"kept by a part of it": {err: fmt.Errorf("pack: %w", full), at: "TestA/b", asked: jobspec.KindQuota},
		"nothing came":         {at: "TestA", asked: jobspec.KindQuota, fails: true},
		"another kind came":    {err: jobspec.KindLimit.Errorf("full"), at: "TestA", asked: jobspec.KindQuota, fails: true},
		"no kind came":         {err: io.EOF, at: "TestA", asked: jobspec.KindQuota, fails: true},
		"nobody looked for it": {err: full, at: "TestA", asked: jobspec.KindLimit, fails: true},
		"in another test":      {err: full, at: "TestAB", asked: jobspec.KindQuota, fails: true},
		"skipped":              {at: "TestA", asked: jobspec.KindQuota, skip: true},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			r := &recorder{name: "TestA", skip: c.skip}
			refusal.Produces(r, jobspec.KindQuota)
			refusal.Is(&recorder{name: c.at}, c.err, c.asked)
			for _, f := range r.end {
				f()
			}
			if failed := len(r.errors) > 0; failed != c.fails {
				t.Errorf("the test failed: %v (%q), want %v", failed, r.errors, c.fails)
			}
		})
	}
}
