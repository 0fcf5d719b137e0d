package jobspec

import "time"

// Receipt is a worker's signed statement of what it ran. It stands in the
// job's record, never in the result. The signature is Ed25519 by the worker's
// key over [Receipt.SigningBytes].
type Receipt struct {
	Version   string    `json:"version"` // "ipdc/receipt/v1"
	Attempt   string    `json:"attempt"` // AttemptID
	Token     string    `json:"token"`   // the lease token, so that an old report fits no new lease
	SpecCID   CID       `json:"spec_cid"`
	TaskKey   CID       `json:"task_key"`
	Input     CID       `json:"input,omitzero"`
	Image     ImageID   `json:"image"`
	ExitCode  int       `json:"exit_code"`
	Kind      Kind      `json:"kind,omitempty"` // of the failure, when there was one
	Output    CID       `json:"output,omitzero"`
	Usage     Usage     `json:"usage"`
	Started   time.Time `json:"started"`
	Exited    time.Time `json:"exited"`
	Worker    string    `json:"worker"`    // peer id; holds the public key
	Signature []byte    `json:"signature"` // 64 bytes
}
