package wire

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
)

// Recorded is one job in the record that the keepers of a domain hold, or a
// schedule, which is over when it was removed.
type Recorded struct {
	Job       jobspec.JobID    `json:"job"`
	Tenant    string           `json:"tenant"`
	Key       string           `json:"key,omitempty"`   // idempotency key of the submit
	SpecCID   jobspec.CID      `json:"spec_cid"`        //
	Spec      jobspec.CID      `json:"spec"`            // a file: the spec as JSON
	Submitted int64            `json:"submitted"`       // ms since 1970
	Owner     identity.ID      `json:"owner"`           //
	Epoch     int              `json:"epoch"`           // 1 for whom it was submitted to, one more for each later owner
	Past      []identity.ID    `json:"past,omitempty"`  // earlier owners, the first one first; of a schedule, since one was heard to run it
	State     jobspec.JobState `json:"state,omitempty"` // published or final; "" while it is not
	Result    jobspec.CID      `json:"result,omitzero"`
	Detail    string           `json:"detail,omitempty"` // why it ended badly
	Fired     *jobspec.Fired   `json:"fired,omitempty"`  // the instant that the job is of: its schedule's owner alone may enter it

	Schedule bool  `json:"schedule,omitempty"` // it is one: Spec is a jobspec.Schedule
	Paused   bool  `json:"paused,omitempty"`   // of a schedule
	Cursor   int64 `json:"cursor,omitempty"`   // of a schedule: the slot of the newest instant that has a job

	Counts *jobspec.Counts `json:"counts,omitempty"` // of a schedule: what its slots count; nil = as in Spec
}

// Over reports whether nobody works on the job any more.
func (r Recorded) Over() bool { return r.State != "" }

// At is when the job was submitted.
func (r Recorded) At() time.Time { return time.UnixMilli(r.Submitted).UTC() }

// Claim says who believes to own a job.
type Claim struct {
	Job   jobspec.JobID `json:"job"`
	Epoch int           `json:"epoch"`
}

// Ending is how a job ends under its owner's epoch.
type Ending struct {
	Claim
	State  jobspec.JobState `json:"state"`
	Result jobspec.CID      `json:"result,omitzero"`
	Detail string           `json:"detail,omitempty"`
}

// Amendment says under its owner's epoch what became of a schedule.
type Amendment struct {
	Claim
	Paused bool            `json:"paused"`
	Counts *jobspec.Counts `json:"counts,omitempty"` // in place of Paused
}

// Renewed is what the record says to an owner that gives a sign of life.
type Renewed struct {
	Lost    []Recorded `json:"lost,omitempty"`    // of those that it claimed: another's now, or forgotten; what it ended itself is not lost
	Granted []Recorded `json:"granted,omitempty"` // its own, not over, which it did not claim: any MaxGranted of them, with the last of Past
}

// MaxClaims is how many claims go into one message, MaxGranted how many entries
// come back. The rest is for the next one.
const (
	MaxClaims  = 400
	MaxGranted = 16
)

// Keep asks a keeper to hold what a job needs until the job is over.
type Keep struct {
	Job   jobspec.JobID `json:"job"`
	Roots []jobspec.CID `json:"roots"` // at most MaxKeep
}

// Keeping says that all of it is stored and pinned.
type Keeping struct{}

// MaxKeep is how many DAGs are kept for one job.
const MaxKeep = 2 + 2*jobspec.MaxStages

// Keepers are the members that hold the record of jobs, as a node knows them.
type Keepers struct {
	Record string        `json:"record,omitempty"` // its id; "" while the domain has none
	Voters []identity.ID `json:"voters,omitempty"` // the keepers; a domain of one or two nodes has none
	Leader identity.ID   `json:"leader,omitempty"` // "" when none is known
}

// Active reports whether jobs are recorded. Fewer than three keepers could not
// lose one.
func (k Keepers) Active() bool { return len(k.Voters) >= MinKeepers }

// Majority is how many keepers must agree.
func (k Keepers) Majority() int { return len(k.Voters)/2 + 1 }

// NoQuorum is the refusal of what needs a majority of the keepers, of whom only
// some answered.
func (k Keepers) NoQuorum(answered []identity.ID) jobspec.Failure {
	var missing []string
	for _, id := range k.Voters {
		if !slices.Contains(answered, id) {
			missing = append(missing, id.String())
		}
	}
	f := jobspec.Failure{
		Kind:   jobspec.KindNoQuorum,
		Detail: fmt.Sprintf("%d of %d keepers of the domain's jobs answer, %d are needed", len(answered), len(k.Voters), k.Majority()),
		Hint:   "try again in a moment: the keepers are choosing a leader",
	}
	if len(k.Voters) == 0 {
		f.Detail = "no keeper of the domain's jobs is known here yet"
	}
	if len(missing) > 0 {
		f.Hint = "start " + strings.Join(missing, ", ") + ", or mend the network to them; who will never come back: ipdc domain revoke ID"
	}
	return f
}

// MinKeepers and MaxKeepers bound how many members keep the record.
const (
	MinKeepers = 3
	MaxKeepers = 5
)
