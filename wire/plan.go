package wire

import "github.com/ipdc/ipdc/jobspec"

// Plan is the answer of POST /v1/jobs/plan: what a submit of the spec would do
// now. Nothing of it is promised; another job may come first.
type Plan struct {
	SpecCID  jobspec.CID       `json:"spec_cid"`
	Image    jobspec.ImageID   `json:"image"`
	Arch     string            `json:"arch"`
	Input    jobspec.CID       `json:"input,omitzero"`
	Bytes    int64             `json:"bytes"` // of file content below Input
	Items    int               `json:"items"` // files of a job that works file by file, else 0
	Kept     []PlanItem        `json:"kept,omitempty"`
	Packages []string          `json:"packages,omitempty"` // that are installed for it already
	Tasks    []PlanTask        `json:"tasks"`              // in their order
	AtOnce   int               `json:"at_once"`            // tasks of this size that the whole node runs at the same time
	Each     jobspec.Resources `json:"each"`               // what one task may use
	Nodes    []PlanNode        `json:"nodes"`              // that were looked at, this one first, then by id
	Reasons  []string          `json:"reasons"`            // why it is so, a sentence each
	Stages   []PlanStage       `json:"stages,omitempty"`   // of a job with stages, whose first one all else is about
}

// PlanStage is what is known before of a stage.
type PlanStage struct {
	Name  string            `json:"name"`
	Image jobspec.ImageID   `json:"image"`
	Arch  string            `json:"arch"`
	Needs []string          `json:"needs,omitempty"` // stages that are to succeed before it is planned
	Tasks int               `json:"tasks,omitempty"` // 0 = not known before
	Each  jobspec.Resources `json:"each"`            // what one task may use
}

// PlanNode is a member that tasks may go to, or why not.
type PlanNode struct {
	ID       string            `json:"id"`                 // peer id
	Here     bool              `json:"here,omitempty"`     // the node that answers
	Arch     string            `json:"arch"`               //
	Labels   map[string]string `json:"labels,omitempty"`   //
	Local    int64             `json:"local_bytes"`        // of the input's content that it holds
	Slots    int               `json:"slots"`              // tasks of this size that it runs at the same time
	Capacity Capacity          `json:"capacity"`           //
	Free     Capacity          `json:"free"`               // as it last said
	Overflow bool              `json:"overflow,omitempty"` // it is kept for tasks that waited for others
	Tasks    int               `json:"tasks"`              // that it would get
	Bytes    int64             `json:"bytes"`              // that these read
	Against  []string          `json:"against,omitempty"`  // why it would never run one: every reason
}

// PlanTask is what one container would do, or what was done already.
type PlanTask struct {
	Holder     string        `json:"holder,omitempty"` // peer id of the member that holds its input and gets it; "" = this node
	Index      int           `json:"index"`
	Name       string        `json:"name,omitempty"` // of a gang's task: "worker-0"
	Key        jobspec.CID   `json:"key,omitzero"`   // not known before requirements are installed
	Bytes      int64         `json:"bytes"`          // of file content it reads
	Items      []PlanItem    `json:"items,omitempty"`
	Done       bool          `json:"done,omitempty"`       // by an earlier job: it would not run
	Remembered jobspec.JobID `json:"remembered,omitempty"` // that job; "" with done = one that is not the asker's
}

// PlanItem is one file of a job that works file by file.
type PlanItem struct {
	Path       string        `json:"path"`
	Bytes      int64         `json:"bytes"`
	Key        jobspec.CID   `json:"key,omitzero"`
	Done       bool          `json:"done,omitempty"`       // by an earlier job: it would not run
	Remembered jobspec.JobID `json:"remembered,omitempty"` // that job; "" with done = one that is not the asker's
}
