package sidecar_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
)

// A node whose identity another process has takes no job, of users or of other
// members, gives no sign of life that the keepers would answer with the other's
// jobs, and says why. The controls are the same node before and after.
func TestF29SecondTakesNoWork(t *testing.T) {
	f := newFleet(t, 3)
	root, files := f.dataset(1)
	owner, second, third := f.nodes[0], f.nodes[1], f.nodes[2]
	made := func(name string, bySecond bool) {
		t.Helper()
		s := partOf(root, files, 1)
		s.Run.Env["DUMMY_STDOUT"] = name
		j := owner.final(owner.submit(s))
		done := makers(j.Attempts, jobspec.AttemptRecorded, jobspec.AttemptCleaned)
		if j.State != jobspec.JobSucceeded || len(done) != 1 || (done[0] == second.key.ID().String()) != bySecond {
			t.Errorf("%s: job is %s by %v, want by %s %v: %+v", name, j.State, done, second.key.ID(), bySecond, j.Failure)
		}
	}
	made("before", true)
	f.copyPart(root, files, "1", third)
	second.twin = func() error { return jobspec.KindConflict.Errorf("another process works under this node's identity") }
	second.restart()
	made("twin", false)
	if _, _, err := second.Submit(t.Context(), api.Submission{Tenant: "t", Spec: spec()}); !errors.Is(err, jobspec.KindConflict.Error()) {
		t.Errorf("Submit = %v, want E_CONFLICT", err)
	}
	if n, err := second.Node(t.Context()); err != nil || !strings.Contains(strings.Join(n.Problems, ""), "under this node's identity") {
		t.Errorf("the node says %q, %v", n.Problems, err)
	}
	second.twin = nil
	second.restart()
	if j := second.final(second.submit(spec("DUMMY_STDOUT=after"))); j.State != jobspec.JobSucceeded {
		t.Errorf("after: job is %s: %+v", j.State, j.Failure)
	}
}
