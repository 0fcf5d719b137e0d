package sidecar_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/jobspec"
)

// Each part of a dataset is processed where it lies, and the result is one.
func TestTasksGoWhereTheDataLies(t *testing.T) {
	f := newFleet(t, 3)
	root, files := f.dataset(4)
	owner := f.nodes[0]
	s := perItem(root, files)
	s.Replicate = 1 // copies are moved, of course
	j := owner.final(owner.submit(s))
	if j.State != jobspec.JobSucceeded {
		t.Fatalf("job is %s: %+v", j.State, j.Failure)
	}
	if j.Result.String() != root {
		t.Errorf("result = %s, want the copied dataset %s", j.Result, root)
	}
	got := map[string]bool{}
	for _, a := range j.Attempts {
		got[a.Node] = true
		if a.Receipt == nil || a.Receipt.Worker != a.Node || jobspec.VerifyReceipt(*a.Receipt) != nil {
			t.Errorf("attempt %s of %s has receipt %+v", a.ID, a.Node, a.Receipt)
		}
	}
	if len(got) != 3 {
		t.Errorf("%d nodes worked, want 3", len(got))
	}
	in := 0
	for _, c := range files {
		in += f.moved[c]
	}
	// The copies are the same blocks: the owner fetches each output once.
	if want := 8; in != want {
		t.Errorf("%d blocks of content moved, want %d: the outputs of the two others", in, want)
	}
	if diff := cmp.Diff(len(files), j.ItemsDone); diff != "" {
		t.Errorf("items done (-want +got):\n%s", diff)
	}
}

// A plan says where each task would go.
func TestPlanNamesHolders(t *testing.T) {
	f := newFleet(t, 3)
	root, files := f.dataset(2)
	p := f.nodes[0].planned(perItem(root, files))
	holders := map[string]bool{}
	for _, task := range p.Tasks {
		holders[task.Holder] = true
	}
	want := map[string]bool{"": true, f.nodes[1].key.ID().String(): true, f.nodes[2].key.ID().String(): true}
	if diff := cmp.Diff(want, holders); diff != "" {
		t.Errorf("holders (-want +got):\n%s\nreasons: %q", diff, p.Reasons)
	}
}

// A busy machine begins one task at a time, and gets as many as if it had room
// for one: it would be behind the others with as many as they. One that is short
// of memory now, as by its own jobs, is not busy.
func TestBusyMembersAreDealtLess(t *testing.T) {
	f := newFleet(t, 2)
	root, files := f.dataset(5)
	s := perItem(root, files)
	s.Place.Prefer = jobspec.PreferAny
	s.Resources = jobspec.Resources{CPU: 500, Memory: 64 * jobspec.MiB, Disk: 64 * jobspec.MiB} // each has room for four
	const each = int64(len("content of 0\n"))
	dealt := func(what string, want ...int64) {
		t.Helper()
		got := map[string]int64{}
		for _, n := range f.nodes[0].planned(s).Nodes {
			got[n.ID] = n.Bytes / each
		}
		for i, b := range f.nodes {
			if n := got[b.key.ID().String()]; n != want[i] {
				t.Errorf("%s: node %d is dealt %d files of 10, want %d", what, i, n, want[i])
			}
		}
	}
	dealt("none is busy", 5, 5)
	for i, want := range [][]int64{{2, 8}, {8, 2}} {
		b := f.nodes[i]
		b.busy = func(jobspec.Bytes) string { return "a task asks for more memory than there is" }
		b.restart()
		dealt("one is short of memory", 5, 5)
		b.used = func() string { return "other programs use it" }
		b.restart()
		dealt("one is busy", want...)
		b.busy, b.used = nil, nil
		b.restart()
	}
}
