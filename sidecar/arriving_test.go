package sidecar_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/wire"
)

// comes starts the first node anew, which hears of the second one only when it
// waits for members.
func (f *fleet) comes() {
	f.mu.Lock()
	b := f.nodes[1]
	f.away[b], f.soon = true, map[*bench]bool{b: true}
	f.mu.Unlock()
	f.nodes[0].restart()
}

// What a node that has just started would refuse, or decide otherwise a moment
// later, waits for the members that are about to be heard.
func TestMembersAboutToBeHeard(t *testing.T) {
	for name, test := range map[string]func(t *testing.T, f *fleet, here, there *bench, far jobspec.Spec){
		"label": func(t *testing.T, _ *fleet, here, _ *bench, far jobspec.Spec) {
			far.Place.Require = map[string]string{"label.disk": "ssd"}
			if j := here.final(here.submit(far)); j.State != jobspec.JobSucceeded {
				t.Errorf("job is %s: %v", j.State, j.Failure)
			}
		},
		"min workers": func(t *testing.T, _ *fleet, here, _ *bench, far jobspec.Spec) {
			far.Place.MinWorkers = 2
			if j := here.final(here.submit(far)); j.State != jobspec.JobSucceeded {
				t.Errorf("job is %s: %v", j.State, j.Failure)
			}
		},
		"local": func(t *testing.T, f *fleet, here, _ *bench, far jobspec.Spec) {
			far.Place.Require = map[string]string{"data": "local"}
			j := here.final(here.submit(far))
			if diff := cmp.Diff([]int{1}, f.workers(j)); j.State != jobspec.JobSucceeded || diff != "" {
				t.Errorf("job is %s: %v, at work (-want +got):\n%s", j.State, j.Failure, diff)
			}
		},
		"nearest": func(t *testing.T, f *fleet, here, _ *bench, far jobspec.Spec) {
			j := here.final(here.submit(far))
			if diff := cmp.Diff([]int{1}, f.workers(j)); j.State != jobspec.JobSucceeded || diff != "" {
				t.Errorf("job is %s: %v, at work (-want +got):\n%s", j.State, j.Failure, diff)
			}
		},
		"plan": func(t *testing.T, _ *fleet, here, there *bench, far jobspec.Spec) {
			p, err := here.Plan(t.Context(), api.Submission{Tenant: "t", Spec: far})
			if err != nil || !slices.ContainsFunc(p.Nodes, func(n wire.PlanNode) bool { return n.ID == there.key.ID().String() && n.Tasks > 0 }) {
				t.Errorf("Plan = %+v, %v, want tasks at %s", p.Nodes, err, there.key.ID())
			}
		},
		"handed over": func(t *testing.T, _ *fleet, here, there *bench, far jobspec.Spec) {
			for _, to := range []string{there.key.ID().String(), api.AnyMember} {
				if _, _, err := here.HandOver(t.Context(), to, api.Submission{Tenant: "t", Spec: far}); err != nil {
					t.Errorf("HandOver(%s) = %v", to, err)
				}
			}
		},
		"dataset": func(t *testing.T, _ *fleet, here, _ *bench, _ jobspec.Spec) {
			if j := here.final(here.submit(overDataset("logs", false))); j.State != jobspec.JobSucceeded {
				t.Errorf("job is %s: %v", j.State, j.Failure)
			}
		},
		"replicas": func(t *testing.T, _ *fleet, here, there *bench, _ jobspec.Spec) {
			root := here.text("line")
			r, err := here.Replicate(t.Context(), "user/line", root, 2)
			if err != nil || !slices.Contains(r.Holders, there.key.ID()) {
				t.Errorf("Replicate = %+v, %v, want a copy at %s", r, err, there.key.ID())
			}
		},
		"drained": func(t *testing.T, _ *fleet, here, there *bench, _ jobspec.Spec) {
			here.text("line")
			if d := here.drains(wire.DrainWish{}, drained); d.Pins > 0 || len(there.held()) == 0 {
				t.Errorf("the node is %+v, and the other one holds %q", d, there.held())
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 2)
			f.change(1, func(b *bench) { b.labels = map[string]string{"disk": "ssd"} })
			root, files := f.dataset(2)
			f.nodes[1].createDataset("logs")
			f.nodes[1].grow("logs", "day", "a text")
			f.comes()
			test(t, f, f.nodes[0], f.nodes[1], partOf(root, files, 1))
		})
	}
}

// A job of an earlier process that ends before anybody is heard gets a second
// holder of its result all the same.
func TestCopyForWhoIsAboutToBeHeard(t *testing.T) {
	f := newFleet(t, 2)
	here := f.nodes[0]
	f.setAway(f.nodes[1], true)
	here.restart()
	ref := here.submit(spec("DUMMY_WRITE=/outputs/o:done", "DUMMY_SLEEP=1h"))
	here.until(ref, jobspec.AttemptRunning)
	f.comes()
	here.state.Release()
	j := here.final(ref)
	if j.State != jobspec.JobSucceeded || len(here.holdings()) != 1 || len(f.nodes[1].held()) != 1 {
		t.Errorf("job is %s, the node's rows are %+v, the other one holds %q", j.State, here.holdings(), f.nodes[1].held())
	}
}
