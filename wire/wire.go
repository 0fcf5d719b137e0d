// Package wire holds the bodies of the HTTP API, shared by server and client.
// docs/api.md lists the endpoints.
//
//	var job wire.Job // answer of POST /v1/jobs and GET /v1/jobs/{ref}
//	var page wire.JobList
//	var p wire.Problem // any status of 400 and above
//
// Invariants: fields are only added; a CID is text in base32 CIDv1; times are
// RFC 3339 in UTC.
package wire

import (
	"time"

	"github.com/ipdc/ipdc/jobspec"
)

// Job is the answer for one job.
type Job struct {
	jobspec.Job
	Attempts   []jobspec.Attempt  `json:"attempts,omitempty"`   // left out of lists
	Stages     []StageState       `json:"stages,omitempty"`     // of a job with stages, once it is planned; left out of lists
	Tasks      []TaskState        `json:"tasks,omitempty"`      // once the job is planned, in their order; left out of lists
	Waiting    string             `json:"waiting,omitempty"`    // why it does not run now, with numbers
	Member     string             `json:"member,omitempty"`     // peer id of who has it; "" = the node that answers
	Deliveries []jobspec.Delivery `json:"deliveries,omitempty"` // where its result goes, and who is told of its end; left out of lists
	Replicas   *Replicas          `json:"replicas,omitempty"`   // who holds the result; left out of lists, and by a node that was alone
	Recorded   *Recorded          `json:"recorded,omitempty"`   // what the domain's keepers know of it, when another member owns it; most other fields are empty then
}

// JobList is the answer of GET /v1/jobs, newest first.
type JobList struct {
	Jobs []Job `json:"jobs"`
}

// Node is the answer of GET /v1/node.
type Node struct {
	ID        string        `json:"id"`      // peer id
	Version   string        `json:"version"` // of ipdc
	PID       int           `json:"pid"`
	Started   time.Time     `json:"started"`
	Path      string        `json:"path"`    // state directory
	Socket    string        `json:"socket"`  // unix socket of the API
	Address   string        `json:"address"` // 127.0.0.1:port of the API
	Domain    string        `json:"domain"`  // name of the domain that the node is in
	DomainID  string        `json:"domain_id"`
	Members   int           `json:"members"` // of the domain that are heard of, this node included
	Capacity  Capacity      `json:"capacity"`
	Free      Capacity      `json:"free"`
	Jobs      int           `json:"jobs"`      // not final
	Executors []Executor    `json:"executors"` //
	IPFS      string        `json:"ipfs"`      // where blocks are kept: "embedded" or "Kubo 0.43.0 at 127.0.0.1:5001"
	Blocks    int64         `json:"blocks"`    // there; in a Kubo those that this node's pins hold
	BlockSize jobspec.Bytes `json:"block_bytes"`
	Storage   Storage       `json:"storage"`
	Outputs   string        `json:"outputs"`            // how /outputs is bounded: "ext4" or "watchdog"
	Keepers   Keepers       `json:"keepers"`            // who holds the record of the domain's jobs
	Draining  bool          `json:"draining,omitempty"` // it takes nothing new
	Problems  []string      `json:"problems,omitempty"` // why it can take nothing now, or cannot go on with what it has
	Busy      string        `json:"busy,omitempty"`     // why one task at a time starts: what other programs of the machine use
	Degraded  []string      `json:"degraded,omitempty"` // files that it cannot read again: "domain: why". It goes on with what it knew
}

// Storage is the disk below a node's state, and the marks at which nothing new
// is taken.
type Storage struct {
	Free    jobspec.Bytes `json:"free_bytes"`
	MinFree jobspec.Bytes `json:"min_free_bytes"`            // nothing new when less is free
	Max     jobspec.Bytes `json:"max_block_bytes,omitempty"` // nor when blocks take more; 0 = no such mark
}

// Capacity is what tasks may use on a node, all together.
type Capacity struct {
	CPU    jobspec.CPU   `json:"cpu"`
	Memory jobspec.Bytes `json:"memory"`
	Disk   jobspec.Bytes `json:"disk"`
	GPU    int           `json:"gpu,omitempty"` // graphics processors that containers can be given
}

// Executor describes one executor of a node.
type Executor struct {
	Name    string `json:"name"`              // "docker"
	Version string `json:"version"`           // of the engine
	Strict  string `json:"strict,omitempty"`  // what gives strict jobs a kernel of their own: "runsc"
	Problem string `json:"problem,omitempty"` // why it cannot be used now
}

// Entry is one line of a listing.
type Entry struct {
	Name string      `json:"name"`
	CID  jobspec.CID `json:"cid"`
	Dir  bool        `json:"dir"`
	Size int64       `json:"size"` // bytes of content; 0 for a directory
}

// Listing is the answer of GET /v1/ls.
type Listing struct {
	CID     jobspec.CID `json:"cid"` // what the path resolved to
	Dir     bool        `json:"dir"`
	Size    int64       `json:"size"`
	Entries []Entry     `json:"entries"` // of a directory, in its order
}

// Resolved is the answer of GET /v1/resolve.
type Resolved struct {
	Path string      `json:"path"` // as it was asked for
	CID  jobspec.CID `json:"cid"`
}

// Added is the answer of POST /v1/dag.
type Added struct {
	CID    jobspec.CID `json:"cid"`
	Blocks int64       `json:"blocks"`
	Bytes  int64       `json:"bytes"`
}

// Collected is the answer of POST /v1/node/gc.
type Collected struct {
	Blocks int64         `json:"blocks"` // removed
	Bytes  jobspec.Bytes `json:"bytes"`  // freed
}

// Problem is the body of every answer of status 400 and above, as RFC 9457
// (application/problem+json), with a Failure inside.
type Problem struct {
	Type     string          `json:"type,omitempty"`
	Title    string          `json:"title"` // of the status: "Not Found"
	Status   int             `json:"status"`
	Detail   string          `json:"detail"`
	Instance string          `json:"instance,omitempty"` // id of this error in the node's log
	Kind     jobspec.Kind    `json:"kind"`
	Where    string          `json:"where,omitempty"` // stage, task, item or path
	Hint     string          `json:"hint,omitempty"`
	Errors   []ProblemDetail `json:"errors,omitempty"` // all problems of a spec at once
}

// Failure returns the failure that p carries.
func (p Problem) Failure() jobspec.Failure {
	return jobspec.Failure{Kind: p.Kind, Where: p.Where, Detail: p.Detail, Hint: p.Hint}
}

// ProblemDetail is one problem of several.
type ProblemDetail struct {
	Path   string `json:"path"` // "inputs[0].cid"
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"`
}

// Events of GET /v1/jobs/{ref}/events that are not of a job's history: both
// end the stream. A stream that ends without one of them was cut and is to be
// resumed.
const (
	StreamEnd   = "end"   // all events were sent; no data
	StreamError = "error" // data is a Problem
)

// Media types of the API's streams.
const (
	TypeCAR    = "application/vnd.ipld.car"
	TypeTar    = "application/x-tar"
	TypeRaw    = "application/octet-stream"
	TypeEvents = "text/event-stream"
)
