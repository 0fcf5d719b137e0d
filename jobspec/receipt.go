package jobspec

import (
	"time"

	"github.com/ipdc/ipdc/identity"
)

// ReceiptVersion is the only value of Receipt.Version, and the purpose that
// receipts are signed for.
const ReceiptVersion = "ipdc/receipt/v1"

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
	Packages  []string  `json:"packages,omitempty"` // of the dependencies: "numpy==2.4.1", sorted
	ExitCode  int       `json:"exit_code"`
	Kind      Kind      `json:"kind,omitempty"` // of the failure, when there was one
	Output    CID       `json:"output,omitzero"`
	Usage     Usage     `json:"usage"`
	Started   time.Time `json:"started"`
	Exited    time.Time `json:"exited"`
	Worker    string    `json:"worker"`    // peer id; holds the public key
	Signature []byte    `json:"signature"` // 64 bytes
}

// signedReceipt is a Receipt as it is signed: the zero time is 0, any other
// its nanoseconds since 1970, and CIDs are links, so that one receipt has one
// encoding whatever it went through.
type signedReceipt struct {
	Version  string   `json:"version"`
	Attempt  string   `json:"attempt"`
	Token    string   `json:"token"`
	SpecCID  CID      `json:"spec_cid"`
	TaskKey  CID      `json:"task_key"`
	Input    CID      `json:"input,omitzero"`
	Image    ImageID  `json:"image"`
	Packages []string `json:"packages,omitempty"`
	ExitCode int      `json:"exit_code"`
	Kind     Kind     `json:"kind,omitempty"`
	Output   CID      `json:"output,omitzero"`
	Usage    Usage    `json:"usage"`
	Started  int64    `json:"started"`
	Exited   int64    `json:"exited"`
	Worker   string   `json:"worker"`
}

// SigningBytes returns the canonical dag-cbor of r without its signature.
func (r Receipt) SigningBytes() ([]byte, error) {
	return EncodeCBOR(signedReceipt{
		Version: r.Version, Attempt: r.Attempt, Token: r.Token,
		SpecCID: r.SpecCID, TaskKey: r.TaskKey, Input: r.Input, Image: r.Image, Packages: r.Packages,
		ExitCode: r.ExitCode, Kind: r.Kind, Output: r.Output, Usage: r.Usage,
		Started: unixNano(r.Started), Exited: unixNano(r.Exited), Worker: r.Worker,
	})
}

func unixNano(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// SignReceipt returns r with its version, worker and signature set by key.
func SignReceipt(key identity.Key, r Receipt) (Receipt, error) {
	r.Version, r.Worker = ReceiptVersion, key.ID().String()
	msg, err := r.SigningBytes()
	if err != nil {
		return Receipt{}, err
	}
	r.Signature = key.Sign(ReceiptVersion, msg)
	return r, nil
}

// VerifyReceipt checks that r was signed by the node it names as its worker.
// Whether that node, attempt and token are the ones that were leased is for
// the caller to check. The error is of kind E_SIGNATURE.
func VerifyReceipt(r Receipt) error {
	if r.Version != ReceiptVersion {
		return KindSignature.Errorf("receipt version is %q, want %q", clip(r.Version), ReceiptVersion)
	}
	msg, err := r.SigningBytes()
	if err != nil {
		return KindSignature.Errorf("receipt of %s: %v", clip(r.Attempt), err)
	}
	id, err := identity.ParseID(r.Worker)
	if err != nil {
		return KindSignature.Errorf("receipt of %s: %v", clip(r.Attempt), err)
	}
	if err := identity.Verify(id, ReceiptVersion, msg, r.Signature); err != nil {
		return KindSignature.Errorf("receipt of %s by %s: %v", clip(r.Attempt), id, err)
	}
	return nil
}
