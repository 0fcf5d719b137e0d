package tensorflow

import (
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// State is how far a cluster is.
type State string

// The values of State.
const (
	StateDown     State = "down"     // it was not started
	StateStarting State = "starting" // not all of its tasks run
	StateUp       State = "up"       // all of them run
	StateEnded    State = "ended"    // its job is over
)

// Status is a cluster and the newest job of it.
type Status struct {
	State    State         `json:"state"`
	Job      jobspec.JobID `json:"job,omitempty"`      // "" = none yet
	Restarts int           `json:"restarts,omitempty"` // how often its programs were started again
	Waiting  string        `json:"waiting,omitempty"`  // why it does not start, with numbers
	Failure  string        `json:"failure,omitempty"`  // how its job ended badly
	Tasks    []TaskStatus  `json:"tasks"`
}

// TaskStatus is one task of a cluster.
type TaskStatus struct {
	Name  string               `json:"name"`            // "worker-0"
	Addr  string               `json:"address"`         // where ipdc tf forward has it
	Node  string               `json:"node,omitempty"`  // peer id of who runs it
	State jobspec.AttemptState `json:"state,omitempty"` // of its newest attempt
}

// StatusOf is the status of c by its newest job j, the zero Job for none.
func StatusOf(c Cluster, j wire.Job) Status {
	st := Status{State: StateDown, Job: j.ID, Waiting: j.Waiting}
	newest := map[int]jobspec.Attempt{}
	for _, at := range j.Attempts {
		if at.ID.Try >= newest[at.ID.Task].ID.Try {
			newest[at.ID.Task] = at
		}
	}
	if j.Gang != nil {
		st.Restarts = max(0, j.Gang.Starts-1)
	}
	running := 0
	for i, t := range c.Tasks() {
		at := newest[i]
		task := TaskStatus{Name: t.Name, Addr: t.Addr, Node: at.Node, State: at.State}
		if at.State == jobspec.AttemptRunning {
			running++
		}
		st.Tasks = append(st.Tasks, task)
	}
	switch {
	case j.ID == "":
	case j.State.Final():
		st.State = StateEnded
		if j.Failure != nil {
			st.Failure = j.Failure.Detail
		}
	case running == len(st.Tasks):
		st.State = StateUp
	default:
		st.State = StateStarting
	}
	return st
}
