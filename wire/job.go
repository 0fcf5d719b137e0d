package wire

import (
	"time"

	"github.com/ipdc/ipdc/jobspec"
)

// MergeWish is the body of POST /v1/jobs/{ref}/merge.
type MergeWish struct {
	Merge jobspec.Merge `json:"merge"` // union, shards, concat or none
}

// Merging is the answer of POST /v1/jobs/{ref}/merge.
type Merging struct {
	Job     jobspec.JobID `json:"job"`
	Merge   jobspec.Merge `json:"merge"`
	CID     jobspec.CID   `json:"cid,omitzero"`      // pinned; none with merge none
	Parts   int           `json:"parts"`             // outputs that were merged
	Outputs []jobspec.CID `json:"outputs,omitempty"` // with merge none: each of them, in the order of tasks
}

// PruneWish is the body of POST /v1/jobs/prune. Zero values select all jobs
// that have ended.
type PruneWish struct {
	States    []jobspec.JobState `json:"states,omitempty"`     // of succeeded, failed and stopped
	Labels    map[string]string  `json:"labels,omitempty"`     // all must be equal
	OlderThan jobspec.Duration   `json:"older_than,omitempty"` // since the job ended
	DryRun    bool               `json:"dry_run,omitempty"`    // remove nothing
}

// Pruned is the answer of POST /v1/jobs/prune.
type Pruned struct {
	Jobs   []PrunedJob `json:"jobs"` // oldest first
	DryRun bool        `json:"dry_run,omitempty"`
}

// PrunedJob is a job that was removed.
type PrunedJob struct {
	ID       jobspec.JobID    `json:"id"`
	Name     string           `json:"name,omitempty"`
	State    jobspec.JobState `json:"state"`
	Finished time.Time        `json:"finished"`
	Result   jobspec.CID      `json:"result,omitzero"`
}

// TaskStream is what a request is upgraded to that opens a stream to a gang's
// task: frames, as package wire/guest has them.
const TaskStream = "ipdc-stream"
