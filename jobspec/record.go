package jobspec

import "time"

// Job is the record of one job on its owner.
type Job struct {
	ID       JobID       `json:"id"`
	Tenant   string      `json:"tenant"` // name of the token that submitted; "local" for the socket
	Spec     Spec        `json:"spec"`   // with defaults
	SpecCID  CID         `json:"spec_cid"`
	Parent   JobID       `json:"parent,omitempty"`  // the job that this one installs the requirements of
	Origin   *Origin     `json:"origin,omitempty"`  // set when this is one task of another node's job
	Tenure   *Tenure     `json:"tenure,omitempty"`  // set when the keepers of the domain know of it
	Fired    *Fired      `json:"fired,omitempty"`   // set when a schedule made it
	Dataset  *DatasetUse `json:"dataset,omitempty"` // set when the input is a version of a dataset
	State    JobState    `json:"state"`
	Stopping bool        `json:"stopping,omitempty"` // a stop was asked for and is durable
	Result   CID         `json:"result,omitzero"`    // set from published on
	Partial  CID         `json:"partial,omitzero"`   // outputs of a job that failed
	// Unavailable says why the result, which was whole, cannot be given any more,
	// as the node's last audit found it; "" = it was whole then.
	Unavailable string `json:"unavailable,omitempty"`

	Merged     []Merged    `json:"merged,omitempty"`  // what job merge made of the outputs, the newest last
	Failure    *Failure    `json:"failure,omitempty"` // set when failed or stopped
	Submitted  time.Time   `json:"submitted"`
	Uptime     Duration    `json:"uptime,omitempty"`  // of the owner's machine then, see [Attempt]
	Started    time.Time   `json:"started,omitzero"`  // first lease
	Finished   time.Time   `json:"finished,omitzero"` // final state
	ItemsTotal int         `json:"items_total"`       // files to do; 0 when not per item
	ItemsDone  int         `json:"items_done"`
	Gang       *GangState  `json:"gang,omitempty"`       // of the stage that is a gang and was begun last
	Checkpoint *Checkpoint `json:"checkpoint,omitempty"` // the newest of its gang; pinned here until the job is removed
	Moved      *Moved      `json:"moved,omitempty"`      // by its owner, since that was started last; of a job that has ended
	Remembered int         `json:"remembered"`           // items that needed no run, or tasks of a job without items
}

// Merged is what the outputs of a job give when they are merged in some way.
type Merged struct {
	Merge Merge `json:"merge"`
	CID   CID   `json:"cid"`
}

// Tenure says by what a node owns a job, in the record of the domain's keepers.
type Tenure struct {
	Record string `json:"record"` // which one: a node may have gone to another domain
	Epoch  int    `json:"epoch"`  // 1 for whom the job was submitted to, one more for each later owner
}

// Moved are bytes that came from other members for a job. What workers fetched
// stands in their receipts.
type Moved struct {
	Content Bytes `json:"content"` // of files: of the input, of code, packages and images
	Nodes   Bytes `json:"nodes"`   // directories and the inner nodes of files
	Outputs Bytes `json:"outputs"` // what tasks gave elsewhere, with its nodes
}

// Origin says for whom a node runs one task of a job that is another node's.
type Origin struct {
	Owner   string   `json:"owner"`            // peer id of the node whose job it is
	Attempt string   `json:"attempt"`          // AttemptID in the owner's record
	Token   string   `json:"token"`            // of that attempt
	Lease   Duration `json:"lease"`            // how long the owner waits for a sign of life
	Archive CID      `json:"archive,omitzero"` // of the image, for a node that lacks it
	Peers   *Peers   `json:"peers,omitempty"`  // of a gang's task: its generation of the gang
}

// Attempt is the record of one try of one task.
type Attempt struct {
	ID          AttemptID    `json:"id"`
	Token       string       `json:"-"`    // 128 random bits, hex; who holds it may report
	Node        string       `json:"node"` // peer id of the worker
	State       AttemptState `json:"state"`
	Container   string       `json:"container,omitempty"` // engine id, from created on
	Leased      time.Time    `json:"leased"`
	Started     time.Time    `json:"started,omitzero"`
	Uptime      Duration     `json:"uptime,omitempty"` // of the worker's machine at Started, without the time that it was suspended: by this its time is counted, whatever clocks say
	Exited      time.Time    `json:"exited,omitzero"`
	ExitCode    int          `json:"exit_code"`
	Failure     *Failure     `json:"failure,omitempty"` // how the try ended badly
	Output      CID          `json:"output,omitzero"`   // from packaged on, partial when Failure is set
	ItemsDone   int          `json:"items_done"`
	ItemErrors  []ItemError  `json:"item_errors,omitempty"`  // at most 100 are kept
	ItemsFailed int          `json:"items_failed,omitempty"` // items that failed
	Items       CID          `json:"items,omitzero"`         // a file: an [ItemEnd] on each line, as JSON, of all items of the task; from recorded on
	Receipt     *Receipt     `json:"receipt,omitempty"`      // from recorded on
	NetIn       Bytes        `json:"net_in,omitempty"`       // from outside; of the last half second before a kill of the node nothing is in it
	NetOut      Bytes        `json:"net_out,omitempty"`      // to the outside, likewise
	PeerIn      Bytes        `json:"peer_in,omitempty"`      // of a gang's task: from the other tasks, as carried; likewise
	PeerOut     Bytes        `json:"peer_out,omitempty"`     // to them, likewise
	LogBytes    int64        `json:"log_bytes"`              // kept
	LogDropped  int64        `json:"log_dropped,omitempty"`  // bytes over the limit, not kept

	LogTruncated bool        `json:"log_truncated,omitempty"` // the engine did not give all of it
	Phases       Phases      `json:"phases,omitzero"`         // how long its parts took
	Peers        *Peers      `json:"peers,omitempty"`         // of a gang's task: its generation of the gang
	Checkpoint   *Checkpoint `json:"checkpoint,omitempty"`    // likewise: the newest that it left; of another node's attempt see the job

	// What the program counted, as it says: pairs, bytes, spills, milliseconds.
	// At most 32, each named by 1 to 40 of a-z, 0-9, dot and underscore.
	Counters map[string]int64 `json:"counters,omitempty"`
}

// Phases is how long the parts of an attempt took, to the millisecond and in
// their order: each begins where the one before it ended. What an attempt did
// not come to is zero, and so is what was under way when its node was killed.
type Phases struct {
	Waited   Duration `json:"waited,omitempty"`   // for a node's free resources
	Brought  Duration `json:"brought,omitempty"`  // input, code and image came from other members
	Staged   Duration `json:"staged,omitempty"`   // they were written to the input cache, or found there
	Mounted  Duration `json:"mounted,omitempty"`  // the outputs volume was made
	Created  Duration `json:"created,omitempty"`  // the container was made
	Begun    Duration `json:"begun,omitempty"`    // it was started
	Ran      Duration `json:"ran,omitempty"`      // until its end was known, with its log and its report
	Packed   Duration `json:"packed,omitempty"`   // outputs became a DAG, stored and pinned
	Recorded Duration `json:"recorded,omitempty"` // the receipt was signed, and its row made ready
	Taken    Duration `json:"taken,omitempty"`    // the owner fetched and checked what another node's report names
}

// ItemError is an item's own failure.
type ItemError struct {
	Path   string `json:"path"`
	Detail string `json:"detail"` // "ValueError: bad header (process.py:12)"; at most 1 KiB
}

// Usage is what an attempt used.
type Usage struct {
	CPU       Duration `json:"cpu"`        // user and system
	MaxMemory Bytes    `json:"max_memory"` // largest resident set of one process
	Wall      Duration `json:"wall"`       // start to exit
	NetIn     Bytes    `json:"net_in,omitempty"`
	NetOut    Bytes    `json:"net_out,omitempty"`
	PeerIn    Bytes    `json:"peer_in,omitempty"` // from the other tasks of its gang, as carried: with a few bytes for each piece
	PeerOut   Bytes    `json:"peer_out,omitempty"`

	// Bytes that came from other members for the attempt, when another node's
	// job it is part of: see Moved.
	MovedContent Bytes `json:"moved_content,omitempty"`
	MovedNodes   Bytes `json:"moved_nodes,omitempty"`
}

// Event is one entry of a job's history. Seq starts at 1 and has no gaps.
type Event struct {
	Job    JobID     `json:"job"`
	Seq    int64     `json:"seq"`
	Time   time.Time `json:"time"`
	Type   EventType `json:"type"`
	Task   int       `json:"task,omitempty"`
	Detail string    `json:"detail,omitempty"` // one sentence for people
	Done   int       `json:"done,omitempty"`   // progress: items or bytes so far
	Total  int       `json:"total,omitempty"`  // progress: of how many
}

// EventType classes events.
type EventType string

// The event types.
const (
	EventState    EventType = "state"    // the job's state changed; Detail is the new state
	EventProgress EventType = "progress" // items done
	EventStage    EventType = "stage"    // a stage was planned; Detail says so with numbers, Task is its first one
	EventWait     EventType = "wait"     // the job waits; Detail says for what, with numbers
)
