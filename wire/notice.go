package wire

import (
	"time"

	"github.com/ipdc/ipdc/jobspec"
)

// Notice is what those are told who are named by notify of a spec. Its form is
// that of the Standard Webhooks specification.
type Notice struct {
	Type      string      `json:"type"`      // job.succeeded, job.failed or job.stopped
	Timestamp time.Time   `json:"timestamp"` // when it happened
	Data      NoticeOfJob `json:"data"`
}

// NoticeOfJob says how a job ended.
type NoticeOfJob struct {
	ID        jobspec.JobID     `json:"id"`
	Name      string            `json:"name,omitempty"`
	Labels    map[string]string `json:"labels,omitempty"`
	State     jobspec.JobState  `json:"state"`
	Result    jobspec.CID       `json:"result,omitzero"`
	Partial   jobspec.CID       `json:"partial,omitzero"`
	Failure   *jobspec.Failure  `json:"failure,omitempty"`
	SpecCID   jobspec.CID       `json:"spec_cid"`
	Submitted time.Time         `json:"submitted"`
	Started   time.Time         `json:"started,omitzero"`
	Finished  time.Time         `json:"finished"`
	Node      string            `json:"node"` // peer id of the job's owner
}

// PublishWish is the body of POST /v1/jobs/{ref}/publish.
type PublishWish struct {
	// To are outlets, as publish of a spec has them; none means those of the
	// job's deliveries that have failed.
	To []string `json:"to,omitempty"`
}

// Deliveries is the answer of POST /v1/jobs/{ref}/publish: all of the job's.
type Deliveries struct {
	Job        jobspec.JobID      `json:"job"`
	Deliveries []jobspec.Delivery `json:"deliveries"`
}
