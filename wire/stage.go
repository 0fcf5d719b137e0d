package wire

import "github.com/ipdc/ipdc/jobspec"

// StageState is how a stage of a job stands.
type StageState struct {
	Name       string           `json:"name"`
	Waits      bool             `json:"waits,omitempty"`    // it is planned when what it reads is there
	Tasks      int              `json:"tasks"`              // with those that are remembered; of one that waits, as far as that is known
	Done       int              `json:"done"`               // likewise
	Remembered int              `json:"remembered"`         // done by earlier jobs
	Input      jobspec.CID      `json:"input,omitzero"`     // what it reads as one tree; undefined while that is not known, and of one that reads partitions
	Bytes      jobspec.Bytes    `json:"bytes"`              // that its tasks read, but for those that are remembered
	Counters   map[string]int64 `json:"counters,omitempty"` // of its tasks that are done, added up
}

// TaskState is one task of a job: where its output comes from.
type TaskState struct {
	Stage  string        `json:"stage,omitempty"`  // its name; "" in a job without stages
	Index  int           `json:"index"`            // of all tasks of the job
	Name   string        `json:"name,omitempty"`   // of a gang's task: "worker-0"
	Shard  jobspec.CID   `json:"shard,omitzero"`   // what it reads
	Key    jobspec.CID   `json:"key"`              //
	Holder string        `json:"holder,omitempty"` // peer id of the member that it was given to first; "" = the owner
	Node   string        `json:"node,omitempty"`   // peer id of who did it
	Output jobspec.CID   `json:"output,omitzero"`  // once it is done
	From   jobspec.JobID `json:"from,omitempty"`   // the earlier job that did it; "" = this one, or, without node, one of another tenant
}
