package cl

import (
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// Status is how far the job of a list is, in its own words.
type Status struct {
	Job        jobspec.JobID    `json:"job"`
	State      jobspec.JobState `json:"state"`
	Lines      int              `json:"lines"`
	Done       int              `json:"done"`       // come to their end, those included that failed or are remembered
	Failed     int              `json:"failed"`     // of slices that have ended
	Remembered int              `json:"remembered"` // done by earlier jobs
	Slices     []Slice          `json:"slices,omitempty"`
	Result     jobspec.CID      `json:"result,omitzero"`
}

// Slice is one task of a list's job.
type Slice struct {
	wire.TaskState
	State  jobspec.AttemptState `json:"state,omitempty"` // of its last try; "" = it has not begun
	Done   int                  `json:"done"`            // lines, in that try
	Failed int                  `json:"failed"`          // lines, likewise
	Tries  int                  `json:"tries"`           // of the slice as a whole
}

// StatusOf reads the status off a job's record. It returns false for a job that
// is not one of this package.
func StatusOf(j wire.Job) (Status, bool) {
	if j.Spec.Labels[Label] != LabelValue || len(j.Spec.Inputs) != 1 {
		return Status{}, false
	}
	st := Status{Job: j.ID, State: j.State, Lines: j.ItemsTotal, Done: j.ItemsDone, Remembered: j.Remembered, Result: j.Result}
	at := map[int]int{}
	for i, t := range j.Tasks {
		at[t.Index] = i
		st.Slices = append(st.Slices, Slice{TaskState: t})
	}
	for _, a := range j.Attempts {
		i, ok := at[a.ID.Task]
		if !ok {
			continue
		}
		s := &st.Slices[i]
		s.Tries++
		s.State, s.Done, s.Failed = a.State, a.ItemsDone, a.ItemsFailed
	}
	for _, s := range st.Slices {
		st.Failed += s.Failed
	}
	return st, true
}
