package sidecar_test

import (
	"reflect"
	"testing"

	"github.com/ipdc/ipdc/jobspec"
)

// missing returns the names of the phases that are zero.
func missing(p jobspec.Phases) (names []string) {
	v := reflect.ValueOf(p)
	for i := range v.NumField() {
		if v.Field(i).Int() == 0 {
			names = append(names, v.Type().Field(i).Name)
		}
	}
	return names
}

// The record says how long each part of an attempt took.
func TestPhases(t *testing.T) {
	b := newBench(t)
	b.ticks = true
	b.restart()
	j := b.final(b.submit(spec()))
	p := j.Attempts[0].Phases
	if names := missing(p); len(names) != 1 || names[0] != "Taken" {
		t.Errorf("%v of %+v are zero, want Taken", names, p)
	}
	sum := p.Waited + p.Brought + p.Staged + p.Mounted + p.Created + p.Begun + p.Ran + p.Packed + p.Recorded
	if all := j.Finished.Sub(j.Submitted); sum.Std() > all {
		t.Errorf("the phases are %s, the job took %s", sum, all)
	}
}

// The owner's record says of another node's attempt what that node says, and how
// long it took to take it in.
func TestPhasesElsewhere(t *testing.T) {
	f := newFleet(t, 2)
	for _, b := range f.nodes {
		b.ticks = true
		b.restart()
	}
	owner, worker := f.nodes[0], f.nodes[1]
	root, files := f.dataset(1)
	s := perItem(root, files)
	s.Inputs[0].CID += "/1" // all of it is the worker's
	there := owner.final(owner.submit(s)).Attempts[0]
	if there.Node != worker.key.ID().String() {
		t.Fatalf("the attempt is of %s", there.Node)
	}
	if names := missing(there.Phases); len(names) > 0 {
		t.Errorf("an attempt of another node: %v of %+v are zero", names, there.Phases)
	}
	own := worker.onlyJob().Attempts[0]
	said := own.Phases
	if said.Taken, said.Waited = there.Phases.Taken, there.Phases.Waited; said != there.Phases {
		t.Errorf("the owner's record has %+v, the worker's %+v", there.Phases, own.Phases)
	}
}
