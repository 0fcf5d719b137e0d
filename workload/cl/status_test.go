package cl_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
	"github.com/ipdc/ipdc/workload/cl"
)

func TestStatus(t *testing.T) {
	j := wire.Job{Job: jobspec.Job{ID: "01", State: jobspec.JobRunning, ItemsTotal: 9, ItemsDone: 6, Remembered: 2}}
	j.Spec = cl.Spec(cl.Each("true"), cl.Job{})
	j.Spec.Inputs = []jobspec.Input{{CID: "bafkqaaa"}}
	j.Tasks = []wire.TaskState{{Index: 0}, {Index: 1}, {Index: 2}}
	try := func(task, n int, state jobspec.AttemptState, done, failed int) {
		id := jobspec.AttemptID{Job: "01", Task: task, Try: n}
		j.Attempts = append(j.Attempts, jobspec.Attempt{ID: id, State: state, ItemsDone: done, ItemsFailed: failed})
	}
	try(0, 1, jobspec.AttemptRecorded, 1, 1) // lost; its lines are done again
	try(0, 2, jobspec.AttemptRecorded, 3, 1)
	try(1, 1, jobspec.AttemptRunning, 1, 0)
	want := cl.Status{
		Job: "01", State: jobspec.JobRunning, Lines: 9, Done: 6, Failed: 1, Remembered: 2,
		Slices: []cl.Slice{
			{TaskState: wire.TaskState{Index: 0}, State: jobspec.AttemptRecorded, Done: 3, Failed: 1, Tries: 2},
			{TaskState: wire.TaskState{Index: 1}, State: jobspec.AttemptRunning, Done: 1, Tries: 1},
			{TaskState: wire.TaskState{Index: 2}},
		},
	}
	got, ok := cl.StatusOf(j)
	if d := cmp.Diff(want, got, cmpopts.EquateComparable(jobspec.CID{})); d != "" || !ok {
		t.Errorf("StatusOf = %t (-want +got):\n%s", ok, d)
	}
	j.Spec.Labels = nil
	if _, ok := cl.StatusOf(j); ok {
		t.Error("StatusOf takes a job that is not of a list")
	}
}
