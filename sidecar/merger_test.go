package sidecar_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/internal/refusal"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// clashing is a job whose two tasks write one name with different contents.
func (b *bench) clashing() jobspec.Spec {
	s := spec("DUMMY_COPY=/ipdc/task.json:/outputs/same", "DUMMY_WRITE_MORE=/outputs/more:x",
		"DUMMY_WRITE_REPORT=/ipdc/report/report.jsonl:"+`{"type":"item","path":"a"}`+"\n"+`{"type":"item","path":"b/c"}`+"\n")
	s.Run.Per, s.Run.Feed = jobspec.PerItem, jobspec.FeedStdin
	s.Inputs = []jobspec.Input{{CID: b.input("a", "b/c")}}
	return s
}

func (b *bench) merged(ref string, how jobspec.Merge) wire.Merging {
	b.t.Helper()
	m, err := b.Merge(b.t.Context(), "t", ref, how)
	if err != nil {
		b.t.Fatalf("Merge(%s) = %v", how, err)
	}
	return m
}

// A job whose outputs clash keeps each part, and they are merged in a way that
// does not clash without a run.
func TestMergeAfterClash(t *testing.T) {
	refusal.Produces(t, jobspec.KindDupName)
	b := newBench(t)
	id := b.submit(b.clashing())
	j := b.final(id)
	if j.State != jobspec.JobFailed || !refusal.Is(t, j.Failure.Error(), jobspec.KindDupName) || !strings.Contains(j.Failure.Detail, `"same"`) || j.Result.Defined() {
		t.Fatalf("job is %s %+v, want a clash that names same", j.State, j.Failure)
	}
	if _, err := b.Merge(t.Context(), "t", id, jobspec.MergeUnion); !refusal.Is(t, err, jobspec.KindDupName) {
		t.Errorf("union again = %v, want the clash again", err)
	}
	m := b.merged(id, jobspec.MergeShards)
	none := b.merged(id, jobspec.MergeNone)
	b.restart()
	if _, err := b.ipfs.GC(t.Context()); err != nil {
		t.Fatal(err)
	}
	files := b.outputs(m.CID)
	if m.Parts != 2 || len(files) != 4 || files["0/same"] == files["1/same"] || files["0/same"] == "" {
		t.Errorf("merged by shards = %+v: %v", m, files)
	}
	if len(none.Outputs) != 2 || none.CID.Defined() {
		t.Errorf("merge none = %+v, want two outputs", none)
	}
	for i, c := range none.Outputs {
		if got := b.outputs(c); got["same"] != files[string(rune('0'+i))+"/same"] {
			t.Errorf("output %d is %v", i, got)
		}
	}
	after := b.final(id)
	if after.State != jobspec.JobFailed || !slices.Equal(after.Merged, []jobspec.Merged{{Merge: jobspec.MergeShards, CID: m.CID}}) {
		t.Errorf("job is %s with %v, want failed as before with the merged CID", after.State, after.Merged)
	}
	if len(after.Attempts) != len(j.Attempts) {
		t.Error("something was run")
	}
	if err := b.Remove(t.Context(), "t", id); err != nil {
		t.Fatal(err)
	}
	if pins, err := b.ipfs.Pins(t.Context(), "job/"+id); err != nil || len(pins) > 0 {
		t.Errorf("a removed job left %v, %v", pins, err)
	}
}

// What a job gave can be merged in another way: to the CID that a job which
// asks for that way has.
func TestMergeAnotherWay(t *testing.T) {
	b := newBench(t)
	input := b.input("a", "b", "c")
	results := map[jobspec.Merge]jobspec.CID{}
	var union string
	for _, how := range []jobspec.Merge{jobspec.MergeUnion, jobspec.MergeShards, jobspec.MergeConcat} {
		s := inShards(input, 2, "DUMMY_COPY=/inputs:/outputs")
		s.Merge = how
		id := b.submit(s)
		j := b.final(id)
		if j.State != jobspec.JobSucceeded {
			t.Fatalf("%s: job is %s %+v", how, j.State, j.Failure)
		}
		results[how] = j.Result
		if how == jobspec.MergeUnion {
			union = id
		}
	}
	if _, err := b.ipfs.GC(t.Context()); err != nil {
		t.Fatal(err)
	}
	for how, want := range results {
		if m := b.merged(union, how); m.CID != want {
			t.Errorf("Merge(%s) = %s, want %s", how, m.CID, want)
		}
	}
	if j := b.final(union); len(j.Merged) != 3 || j.Result != results[jobspec.MergeUnion] {
		t.Errorf("job has %v and the result %s", j.Merged, j.Result)
	}
}

// A job that lacks outputs is not merged, and neither is one in a way that has
// no order.
func TestMergeRefused(t *testing.T) {
	b := newBench(t)
	failed := b.submit(spec("DUMMY_WRITE=/outputs/a:x", "DUMMY_EXIT=3"))
	b.final(failed)
	running := b.submit(spec("DUMMY_SLEEP=1h"))
	items := b.submit(b.clashing())
	b.final(items)
	for _, c := range []struct {
		ref  string
		how  jobspec.Merge
		kind jobspec.Kind
	}{
		{failed, jobspec.MergeShards, jobspec.KindConflict},
		{running, jobspec.MergeShards, jobspec.KindConflict},
		{items, jobspec.MergeConcat, jobspec.KindSpec},
		{"nothing", jobspec.MergeShards, jobspec.KindNotFound},
	} {
		if _, err := b.Merge(t.Context(), "t", c.ref, c.how); !refusal.Is(t, err, c.kind) {
			t.Errorf("Merge(%s, %s) = %v, want %s", c.ref, c.how, err, c.kind)
		}
	}
	if _, err := b.Stop(t.Context(), "t", running); err != nil {
		t.Fatal(err)
	}
}
