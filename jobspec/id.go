package jobspec

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/oklog/ulid/v2"
)

// CID is the content identifier of an IPFS DAG, printed as CIDv1 in base32.
// The zero value is no CID and prints as the empty string.
type CID struct{ c cid.Cid }

// WrapCID returns c as a CID, turned into its CIDv1 form.
func WrapCID(c cid.Cid) CID {
	if c.Defined() && c.Version() == 0 {
		c = cid.NewCidV1(cid.DagProtobuf, c.Hash())
	}
	return CID{c}
}

// ParseCID reads a CIDv0 or CIDv1 in any multibase. The result is a
// [FailureError] of kind E_SPEC when s is no CID.
func ParseCID(s string) (CID, error) {
	c, err := cid.Decode(s)
	if err != nil {
		return CID{}, KindSpec.Errorf("%q is not a CID: %v", clip(s), err)
	}
	return WrapCID(c), nil
}

// Cid returns the underlying go-cid value.
func (c CID) Cid() cid.Cid { return c.c }

// Defined reports whether c holds a CID.
func (c CID) Defined() bool { return c.c.Defined() }

// String returns the base32 CIDv1 text, or "" when undefined.
func (c CID) String() string {
	if !c.c.Defined() {
		return ""
	}
	return c.c.String()
}

// MarshalText writes the base32 CIDv1 text.
func (c CID) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads what [ParseCID] reads; the empty string gives no CID.
func (c *CID) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*c = CID{}
		return nil
	}
	v, err := ParseCID(string(b))
	if err != nil {
		return err
	}
	*c = v
	return nil
}

// JobID names a job: a ULID, in lower case, given by the node that accepted
// it. Its order is the order of acceptance on one node.
type JobID string

// NewJobID returns a fresh id for the instant t. Ids of one millisecond are in
// the order in which they were made, as those of a process.
func NewJobID(t time.Time) JobID {
	return JobID(strings.ToLower(ulid.MustNew(ulid.Timestamp(t), ulid.DefaultEntropy()).String()))
}

// ParseJobID reads a whole ULID of 26 characters in either case.
func ParseJobID(s string) (JobID, error) {
	u, err := ulid.ParseStrict(strings.ToUpper(s))
	if err != nil {
		return "", KindSpec.Errorf("%q is not a job id", clip(s))
	}
	return JobID(strings.ToLower(u.String())), nil
}

// Time is when the id was given, by the clock of the node that gave it; the zero
// time for what is no id.
func (id JobID) Time() time.Time {
	u, err := ulid.ParseStrict(strings.ToUpper(string(id)))
	if err != nil {
		return time.Time{}
	}
	return ulid.Time(u.Time())
}

// String returns the id.
func (id JobID) String() string { return string(id) }

// AttemptID names one try of one task of a job.
type AttemptID struct {
	Job  JobID
	Task int // index in Plan.Tasks, from 0
	Try  int // from 1
}

// String returns "<job>-<task>-<try>", as it stands in engine object names.
func (a AttemptID) String() string { return fmt.Sprintf("%s-%d-%d", a.Job, a.Task, a.Try) }

// MarshalText writes what String returns.
func (a AttemptID) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads what [ParseAttemptID] reads.
func (a *AttemptID) UnmarshalText(b []byte) (err error) {
	*a, err = ParseAttemptID(string(b))
	return err
}

// ParseAttemptID reads what String writes, and only that: an id has one text.
func ParseAttemptID(s string) (AttemptID, error) {
	bad := KindSpec.Errorf("%q is not an attempt id", clip(s))
	parts := strings.Split(s, "-")
	if len(parts) != 3 {
		return AttemptID{}, bad
	}
	job, err := ParseJobID(parts[0])
	task, err1 := strconv.Atoi(parts[1])
	try, err2 := strconv.Atoi(parts[2])
	a := AttemptID{Job: job, Task: task, Try: try}
	if err != nil || err1 != nil || err2 != nil || task < 0 || try < 1 || a.String() != s {
		return AttemptID{}, bad
	}
	return a, nil
}

// ImageID is an image's identity: the digest of its config, "sha256:" and 64
// hex digits. A tag never is an identity.
type ImageID string

// String returns the digest.
func (id ImageID) String() string { return string(id) }
