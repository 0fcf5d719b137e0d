package wire

import "github.com/ipdc/ipdc/jobspec"

// What the owner of a job with a gang and the members that run tasks of it tell
// each other, besides what they do of any task.

// Reserve asks a member to hold room for tasks of a generation of a gang, which
// are assigned when every task of the gang has room. It is repeated until the
// answer says that room is held, and room is given back a lease after the last
// one. A member that still runs a task of an earlier generation ends that first.
type Reserve struct {
	Gang       string            `json:"gang"`       // see [jobspec.Peers]
	Job        string            `json:"job"`        // the owner's
	Generation int               `json:"generation"` //
	Tasks      int               `json:"tasks"`      // 0 = only end what is earlier
	Each       jobspec.Resources `json:"each"`       // of one task
}

// Reserved is the answer; a refusal is a failure that says why.
type Reserved struct {
	Held    bool   `json:"held"`
	Waiting string `json:"waiting,omitempty"` // what for, when it is not held yet
}

// Unreserve gives room back that was not used.
type Unreserve struct {
	Gang string `json:"gang"`
}

// Gate says how a gang stands for one of its attempts.
type Gate struct {
	Attempt string `json:"attempt"`
	Token   string `json:"token"`
	Open    bool   `json:"open"`           // all of the gang is there: the program starts
	Over    bool   `json:"over,omitempty"` // the gang has done its work: a program that runs is stopped, and reported
}
