package sidecar_test

import (
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar"
	"github.com/ipdc/ipdc/sidecar/api"
)

// inShards is a job with a task per shard of the files of an input.
func inShards(input string, into int, script ...string) jobspec.Spec {
	s := spec(script...)
	s.Inputs = []jobspec.Input{{CID: input}}
	s.Split = jobspec.Split{By: jobspec.SplitSize, Into: into}
	return s
}

// What is split has bounds of its own, which say what to do; a plan that is
// only looked at has them too.
func TestSplitLimits(t *testing.T) {
	b := newBench(t)
	input := b.input("a", "b", "c", "d/e")
	for _, c := range []struct {
		name   string
		limits sidecar.Limits
		budget ipfs.Budget
		kind   jobspec.Kind
		hint   string
	}{
		{"within", sidecar.Limits{Dataset: 5}, ipfs.Budget{Entries: 3}, "", ""},
		{"entries", sidecar.Limits{Dataset: 4}, ipfs.Budget{}, jobspec.KindLimitEntries, "--dataset-entries"},
		{"levels", sidecar.Limits{}, ipfs.Budget{Levels: 1}, jobspec.KindDepth, "input-levels"},
		{"time", sidecar.Limits{}, ipfs.Budget{Time: time.Nanosecond}, jobspec.KindFetchTimeout, "input-time"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b.limits, b.budget = c.limits, c.budget
			b.restart()
			s := inShards(input, 2, "DUMMY_WRITE=/outputs/a:x")
			_, err := b.Plan(t.Context(), api.Submission{Tenant: "t", Spec: s})
			j := b.final(b.submit(s))
			if c.kind == "" {
				if err != nil || j.State != jobspec.JobSucceeded {
					t.Errorf("Plan = %v, job = %s %+v, want success", err, j.State, j.Failure)
				}
				return
			}
			if err == nil || j.Failure == nil {
				t.Fatalf("Plan = %v, job = %s, want %s", err, j.State, c.kind)
			}
			for _, f := range []jobspec.Failure{jobspec.AsFailure(err), *j.Failure} {
				if f.Kind != c.kind || f.Where != "split" || !strings.Contains(f.Hint, c.hint) {
					t.Errorf("refused with %+v, want %s at split and %q", f, c.kind, c.hint)
				}
			}
		})
	}
}

// A dataset that lies on several members is split without its content, and
// each shard is run where that is.
func TestShardsGoWhereTheDataLies(t *testing.T) {
	for name, per := range map[string]jobspec.Per{"by task": jobspec.PerTask, "by item": jobspec.PerItem} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, 3)
			root, files := f.dataset(4)
			s := perItem(root, files)
			s.Split = jobspec.Split{By: jobspec.SplitSize, Into: 6}
			s.Cache = jobspec.CacheOff
			if s.Run.Per = per; per == jobspec.PerTask {
				s.Run.Feed = ""
			}
			owner := f.nodes[0]
			p, moved := owner.planned(s), 0
			for _, c := range files {
				moved += f.moved[c]
			}
			if len(p.Tasks) != 6 || moved != 0 {
				t.Errorf("planning made %d tasks and moved %d blocks of content, want 6 and none", len(p.Tasks), moved)
			}
			j := owner.final(owner.submit(s))
			if j.State != jobspec.JobSucceeded || j.Result.String() != root {
				t.Fatalf("job is %s with %s, want succeeded with %s: %+v", j.State, j.Result, root, j.Failure)
			}
			at := map[string]bool{}
			for _, a := range j.Attempts {
				at[a.Node] = true
			}
			if len(at) != 3 || len(j.Attempts) != 6 {
				t.Errorf("%d tasks on %d nodes, want 6 on 3", len(j.Attempts), len(at))
			}
		})
	}
}
