package wire

import (
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
)

// What members tell each other about copies. The owner of a copy is the node
// that asked for it; all of it may come twice and in any order.

// Hold asks a member to store and pin a DAG for the sender, under a name of
// the sender's. It is asked again until the answer says that it is done, or is
// a failure that says why not. Who stops asking does not want it any more.
type Hold struct {
	Name  string      `json:"name"` // of the sender's own pin
	Root  jobspec.CID `json:"root"`
	Bytes int64       `json:"bytes"`          // about so many; 0 = not known
	Keep  bool        `json:"keep,omitempty"` // the sender leaves: it is the member's own from now on
}

// Holding is the answer.
type Holding struct {
	Done bool `json:"done"` // all of it is stored and pinned; false: it is being fetched
}

// Audit tells a member all that it is to hold for the sender. What it holds
// besides, it lets go.
type Audit struct {
	List jobspec.CID `json:"list"` // a file: a JSON list of Copy
	At   int64       `json:"at"`   // when the list was made, in Unix milliseconds: what came later stays
}

// Copy is one DAG that a member holds for another.
type Copy struct {
	Name string      `json:"name"`
	Root jobspec.CID `json:"root"`
}

// Audited is the answer: bit i is whether the i-th is held.
type Audited struct {
	Bits []byte `json:"bits"`
}

// Unaudited tells an owner that the sender holds something for it, and has
// not been told for long what is still wanted.
type Unaudited struct{}

// Replicas says which nodes hold a DAG.
type Replicas struct {
	Want    int           `json:"want"`              // nodes in all
	Holders []identity.ID `json:"holders"`           // the node that is asked comes first
	Away    []identity.ID `json:"away,omitempty"`    // of them, those that are not heard of now
	Problem string        `json:"problem,omitempty"` // why there are fewer
}

// DrainWish is the body of POST /v1/node/drain.
type DrainWish struct {
	Undo    bool             `json:"undo,omitempty"`    // take work again
	Timeout jobspec.Duration `json:"timeout,omitempty"` // after it, tasks of other members' jobs are given back; 0 = at once
	Leave   bool             `json:"leave,omitempty"`   // for good: other members make what is pinned here their own
}

// Drain says how far a node is with draining.
type Drain struct {
	State   DrainState      `json:"state"`
	Tasks   int             `json:"tasks"`             // of other members' jobs, that have not ended
	Jobs    []jobspec.JobID `json:"jobs,omitempty"`    // its own, that have not ended
	Pins    int             `json:"pins"`              // that no other member holds yet: of users, and results
	Handed  int             `json:"handed"`            // that another member holds
	Problem string          `json:"problem,omitempty"` // why there are any of the former
}

// DrainState is a word for it.
type DrainState string

// The values of DrainState.
const (
	DrainNo  DrainState = "no"       // the node takes work
	Draining DrainState = "draining" // it takes nothing new
	Drained  DrainState = "drained"  // nor is there anything left to wait for
)
