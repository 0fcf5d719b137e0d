package wire

import (
	"time"

	"github.com/ipdc/ipdc/jobspec"
)

// Hand asks a member to take a job: to own it from then on. The answer is
// Taken, or the failure that a submit to the member would have given. The same
// key and spec give the same job.
type Hand struct {
	Key  string      `json:"key"`            // idempotency key, per asking node
	Spec []byte      `json:"spec,omitempty"` // JSON, of at most MaxHandSpec bytes
	File jobspec.CID `json:"file,omitzero"`  // a longer spec, as a file
}

// MaxHandSpec is how long a spec in a message may be, in bytes.
const MaxHandSpec = 16 << 10

// Taken says that the job is on the member's disk.
type Taken struct {
	Job       jobspec.JobID `json:"job"`
	Submitted time.Time     `json:"submitted"`
}

// HandedState asks a member how jobs do that it took from the asking node.
type HandedState struct {
	Jobs []jobspec.JobID `json:"jobs"` // at most MaxHandedStates
}

// MaxHandedStates is how many jobs one HandedState asks for.
const MaxHandedStates = 64

// HandedStates is the answer, in the order of the question.
type HandedStates struct {
	States []JobBrief `json:"states"`
}

// JobBrief is a job in a few words.
type JobBrief struct {
	State      jobspec.JobState `json:"state"` // "" = there is no such job, or it is not the asking node's
	Result     jobspec.CID      `json:"result,omitzero"`
	Partial    jobspec.CID      `json:"partial,omitzero"`
	Started    time.Time        `json:"started,omitzero"`
	Finished   time.Time        `json:"finished,omitzero"`
	ItemsTotal int              `json:"items_total"`
	ItemsDone  int              `json:"items_done"`
}
