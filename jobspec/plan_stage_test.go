package jobspec_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/jobspec"
)

// A plan grows by stages: tasks are numbered through, those that are
// remembered leave gaps, and each stage reads as a plan of its own.
func TestPlanOfStages(t *testing.T) {
	p := jobspec.Plan{SpecCID: rawCID("spec"), Tasks: []jobspec.Task{}, Stages: []jobspec.PlanStage{
		{Image: "sha256:00", Arch: "amd64"}, {Image: "sha256:01", Arch: "wasi", Dependencies: rawCID("deps")},
	}}
	if p.Planned() != 0 || p.Next() != 0 {
		t.Errorf("of an empty plan %d stages are planned, the next task is %d, want 0 and 0", p.Planned(), p.Next())
	}
	first := jobspec.Plan{SpecCID: rawCID("one"), Input: rawCID("in"), Tasks: []jobspec.Task{{Index: 1, Key: rawCID("b")}}, Kept: []jobspec.KeptTask{
		{Index: 0, Key: rawCID("a"), Output: rawCID("out"), Job: "job"},
	}}
	p = p.WithStage(first, 2)
	if p.Planned() != 1 || p.Next() != 2 {
		t.Errorf("%d stages are planned, the next task is %d, want 1 and 2", p.Planned(), p.Next())
	}
	p = p.WithStage(jobspec.Plan{SpecCID: rawCID("two"), Tasks: []jobspec.Task{{Key: rawCID("c")}, {Key: rawCID("d")}}}.Numbered(p.Next()), 2)
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/plan/stages.json", append(b, '\n'))
	want := jobspec.Plan{SpecCID: rawCID("two"), Image: "sha256:01", Arch: "wasi", Dependencies: rawCID("deps"), Tasks: []jobspec.Task{
		{Index: 2, Key: rawCID("c")}, {Index: 3, Key: rawCID("d")},
	}}
	if diff := cmp.Diff(text(t, want), text(t, p.Stage(1))); diff != "" {
		t.Errorf("Stage(1) (-want +got):\n%s", diff)
	}
	for index, want := range []int{0, 0, 1, 1, 1} {
		if got := p.StageOf(index); got != want {
			t.Errorf("StageOf(%d) = %d, want %d", index, got, want)
		}
	}
	alone := jobspec.Plan{Tasks: []jobspec.Task{{Index: 7}}}
	if diff := cmp.Diff(text(t, alone), text(t, alone.Stage(0))); diff != "" || alone.Planned() != 1 || alone.Next() != 0 {
		t.Errorf("the plan of a job without stages, as that of its stage (-want +got):\n%s", diff)
	}
}
