package sidecar_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What a program counts stands in the owner's record, whichever node ran it.
func TestCounters(t *testing.T) {
	f := newFleet(t, 2)
	owner, worker := f.nodes[0], f.nodes[1]
	root, files := f.dataset(1)
	s := perItem(root, files)
	s.Run.Env["DUMMY_WRITE_REPORT"] += `{"type":"counters","counters":{"map.pairs":1}}
{"type":"counters","counters":{"map.pairs":7,"map.ms_sort":-1}}
{"type":"counters","counters":{"no name":9}}
`
	s.Inputs[0].CID += "/1" // all of it is the worker's
	want := map[string]int64{"map.pairs": 7, "map.ms_sort": -1}
	there := owner.final(owner.submit(s)).Attempts[0]
	if d := cmp.Diff(want, there.Counters); there.Node != worker.key.ID().String() || d != "" {
		t.Errorf("an attempt of %s counted (-want +got):\n%s", there.Node, d)
	}
	own := worker.onlyJob().Attempts[0]
	if d := cmp.Diff(want, own.Counters); d != "" {
		t.Errorf("the worker's own record (-want +got):\n%s", d)
	}
}
