package wire

import "github.com/ipdc/ipdc/jobspec"

// What the owner of a job and a member that runs one of its tasks tell each
// other. Attempts are named as in the owner's record. All of it may come
// twice and in any order.

// Assign asks a member to run one attempt. The answer is an empty Assigned, or
// a failure that says why not.
type Assign struct {
	Attempt string           `json:"attempt"` // AttemptID
	Token   string           `json:"token"`   // who reports shows it
	Lease   jobspec.Duration `json:"lease"`   // the owner waits so long for a sign of life
	Work    jobspec.CID      `json:"work"`    // a file: Work as JSON
}

// Assigned says that the attempt is on the member's disk.
type Assigned struct{}

// Work is what a member needs to know to run a task.
type Work struct {
	Spec    jobspec.Spec `json:"spec"`
	Plan    jobspec.Plan `json:"plan"`             // its only task is the attempt's
	Archive jobspec.CID  `json:"archive,omitzero"` // of the image, when the member said that it lacks it

	Peers *jobspec.Peers `json:"peers,omitempty"` // of a gang's task: its generation of the gang
}

// Beat is a sign of life of an attempt. The answer is an empty Beating, or a
// failure of kind E_LEASE_LOST: then the attempt ends.
type Beat struct {
	Attempt   string           `json:"attempt"`
	Token     string           `json:"token"`
	ItemsDone int              `json:"items_done"`
	Waiting   string           `json:"waiting,omitempty"` // why it does not run yet
	Ran       jobspec.Duration `json:"ran,omitempty"`     // since its program began; 0 = it has not
	Ready     bool             `json:"ready,omitempty"`   // its container is made

	Checkpoint *jobspec.Checkpoint `json:"checkpoint,omitempty"` // the newest that it left
}

// Beating says that the attempt is still wanted, and how its gang stands: see
// [Gate].
type Beating struct {
	Open bool `json:"open,omitempty"`
	Over bool `json:"over,omitempty"`
}

// Report says that an attempt has ended. It is repeated until the answer says
// that it was taken, or is a failure of kind E_LEASE_LOST.
type Report struct {
	Attempt string      `json:"attempt"`
	Token   string      `json:"token"`
	Outcome jobspec.CID `json:"outcome"` // a file: Outcome as JSON
}

// Reported is the answer to a Report.
type Reported struct {
	Taken bool `json:"taken"` // false: the owner is still reading it
}

// Tail asks for what the program of an attempt has written, behind so many bytes
// of its output.
type Tail struct {
	Attempt string `json:"attempt"`
	Token   string `json:"token"`
	From    int64  `json:"from"`
}

// Tailed is the answer: pieces of the node's log, as package joblog has them.
type Tailed struct {
	Pieces []byte `json:"pieces,omitempty"`
	More   bool   `json:"more,omitempty"` // there is more than a message holds
}

// Outcome is how an attempt ended.
type Outcome struct {
	Receipt     *jobspec.Receipt    `json:"receipt,omitempty"` // nil when no program was run
	Failure     *jobspec.Failure    `json:"failure,omitempty"`
	ItemsDone   int                 `json:"items_done"`
	ItemErrors  []jobspec.ItemError `json:"item_errors,omitempty"`
	ItemsFailed int                 `json:"items_failed,omitempty"`
	Record      jobspec.CID         `json:"record,omitzero"` // a file: a [jobspec.ItemEnd] on each line, of all items
	Items       []ItemOutcome       `json:"items,omitempty"`
	Log         jobspec.CID         `json:"log,omitzero"`    // a file: pieces of the node's log
	Phases      jobspec.Phases      `json:"phases,omitzero"` // as the member says
	Counters    map[string]int64    `json:"counters,omitempty"`
	Checkpoint  *jobspec.Checkpoint `json:"checkpoint,omitempty"` // the last one of a gang's task
}

// ItemOutcome is what became of one item.
type ItemOutcome struct {
	Path    string   `json:"path"`
	Outputs []string `json:"outputs,omitempty"`
	Error   string   `json:"error,omitempty"`
}

// Revoke ends an attempt.
type Revoke struct {
	Attempt string `json:"attempt"`
	Token   string `json:"token"`
}

// Holds asks which of some DAGs a member has.
type Holds struct {
	List jobspec.CID `json:"list"` // a file: a JSON list of CIDs, at most MaxHolds
}

// Held is the answer: bit i, from the lowest of each byte on, is the i-th.
type Held struct {
	Bits []byte `json:"bits"`
	// Attached says that some of them lie in files that are served in place,
	// and are to be given in small batches.
	Attached bool `json:"attached,omitempty"`
}

// MaxHolds is how many DAGs one Holds asks for: their bits are one message.
const MaxHolds = 200_000
