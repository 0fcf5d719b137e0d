package wire

import (
	"time"

	"github.com/ipdc/ipdc/jobspec"
)

// Imported is the answer of POST /v1/dag/import.
type Imported struct {
	Roots  []jobspec.CID `json:"roots"` // as the CAR's header names them
	Blocks int64         `json:"blocks"`
	Bytes  int64         `json:"bytes"` // of the stream
	Pinned bool          `json:"pinned"`
}

// Pin keeps the DAG below a CID.
type Pin struct {
	CID     jobspec.CID   `json:"cid"`
	Kind    string        `json:"kind"`          // "user", or what a job needs it for: "input", "result", ...
	Job     jobspec.JobID `json:"job,omitempty"` // whose pin it is; "" for a user's
	Created time.Time     `json:"created"`
	Paths   []string      `json:"paths,omitempty"` // by which it was pinned; the directories on them are kept too

	Attached bool      `json:"attached,omitempty"` // its root lies in a CAR file that is served in place, and was not copied
	Replicas *Replicas `json:"replicas,omitempty"` // who holds it, where others are to
}

// PinUser is the kind of a pin that a user made.
const PinUser = "user"

// PinList is the answer of GET /v1/pins.
type PinList struct {
	Pins []Pin `json:"pins"`
}

// PinWish is the body of POST /v1/pins.
type PinWish struct {
	Path string `json:"path"` // CID, CID/a/b, /ipfs/CID/a or ipfs://CID/a

	Replicate int `json:"replicate,omitempty"` // nodes in all that are to hold it from now on; 0 = as it is
}
