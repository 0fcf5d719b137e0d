package sidecar

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

// showTasks fills in what the plan of a job and its attempts tell of its tasks
// and stages.
func showTasks(tx *store.Tx, j *wire.Job) error {
	plan, err := tx.Plan(j.ID)
	if errors.Is(err, jobspec.KindNotFound.Error()) {
		return nil // it is not planned yet
	}
	if err != nil {
		return err
	}
	last, newest := map[int]jobspec.Attempt{}, map[int]int{} // that succeeded; last try
	for _, a := range j.Attempts {
		newest[plan.StageOf(a.ID.Task)] = max(newest[plan.StageOf(a.ID.Task)], a.ID.Try)
		if succeeded(a) {
			last[a.ID.Task] = a
		}
	}
	for i, st := range j.Spec.Stages {
		s := wire.StageState{Name: st.Name, Waits: i >= plan.Planned(), Tasks: j.Spec.PartsOf(i)}
		if !s.Waits {
			s.Tasks, s.Input = plan.Stages[i].Count, plan.Stages[i].Input
		}
		j.Stages = append(j.Stages, s)
	}
	stageOf := func(i int) (*wire.StageState, string) {
		if len(j.Stages) == 0 {
			return &wire.StageState{}, ""
		}
		return &j.Stages[i], j.Stages[i].Name
	}
	for _, k := range plan.Kept {
		st, name := stageOf(k.Stage)
		st.Done, st.Remembered = st.Done+1, st.Remembered+1
		j.Tasks = append(j.Tasks, wire.TaskState{Stage: name, Index: k.Index, Shard: k.Shard, Key: k.Key, Output: k.Output, From: k.Job})
	}
	for _, t := range plan.Tasks {
		st, name := stageOf(t.Stage)
		st.Bytes += jobspec.Bytes(t.Bytes)
		show := wire.TaskState{Stage: name, Index: t.Index, Shard: t.Shard, Key: t.Key, Holder: t.Holder, Name: t.Name}
		if a, ok := last[t.Index]; ok && (t.Name == "" || a.ID.Try == newest[t.Stage]) {
			st.Done++
			show.Node, show.Output = a.Node, a.Output
			st.Counters = addCounters(st.Counters, a.Counters)
		}
		j.Tasks = append(j.Tasks, show)
	}
	slices.SortFunc(j.Tasks, func(a, b wire.TaskState) int { return cmp.Compare(a.Index, b.Index) })
	return nil
}

// addCounters adds what a task counted to what others did; the largest of
// something is that of all tasks.
func addCounters(sum, more map[string]int64) map[string]int64 {
	for name, n := range more {
		if sum == nil {
			sum = map[string]int64{}
		}
		if strings.Contains(name, "largest") {
			sum[name] = max(sum[name], n)
		} else {
			sum[name] += n
		}
	}
	return sum
}
