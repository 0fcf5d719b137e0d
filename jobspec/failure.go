package jobspec

import (
	"errors"
	"fmt"
)

// Kind says what went wrong, in a stable word that callers may switch on.
// E_... kinds are refusals and limits; the lower-case kinds are a program's
// own ends. See docs/jobspec.md for the table.
type Kind string

// The kinds. Their texts are part of the API.
const (
	KindName         Kind = "E_NAME"          // a file name that is never allowed
	KindDupName      Kind = "E_DUP_NAME"      // two entries or outputs of one name
	KindSymlink      Kind = "E_SYMLINK"       // a symbolic link that leaves its root
	KindDepth        Kind = "E_DEPTH"         // too many levels
	KindLimitBytes   Kind = "E_LIMIT_BYTES"   // more bytes than the budget
	KindLimitEntries Kind = "E_LIMIT_ENTRIES" // more entries than the budget
	KindSizeMismatch Kind = "E_SIZE_MISMATCH" // declared and real sizes differ
	KindUnixFS       Kind = "E_UNIXFS"        // not a well-formed UnixFS node
	KindHAMT         Kind = "E_HAMT"          // not a well-formed HAMT shard
	KindCodec        Kind = "E_CODEC"         // a codec that is not read as files
	KindCIDHash      Kind = "E_CID_HASH"      // a hash function or length that is not trusted
	KindBlockHash    Kind = "E_BLOCK_HASH"    // bytes that are not what their CID says
	KindCARRoots     Kind = "E_CAR_ROOTS"     // not exactly one usable root
	KindCARFormat    Kind = "E_CAR_FORMAT"    // not a well-formed CAR
	KindFetchTimeout Kind = "E_FETCH_TIMEOUT" // nobody gave the block in time
	KindSpec         Kind = "E_SPEC"          // the job spec is wrong
	KindDupKey       Kind = "E_DUP_KEY"       // a key stands twice, or the idempotency key was used for another spec
	KindPolicy       Kind = "E_POLICY"        // the node does not allow it
	KindImageRef     Kind = "E_IMAGE_REF"     // no such image, or a malformed reference
	KindImageRun     Kind = "E_IMAGE_RUN"     // the container could not be started
	KindImageGone    Kind = "E_IMAGE_GONE"    // the image vanished before the start
	KindPullStall    Kind = "E_PULL_STALL"    // the image's registry does not answer, or stopped sending
	KindOutputType   Kind = "E_OUTPUT_TYPE"   // an output that is no file, directory or inner link
	KindNoOutput     Kind = "E_NO_OUTPUT"     // an expected output is missing
	KindSignature    Kind = "E_SIGNATURE"     // a signature does not hold
	KindPNet         Kind = "E_PNET"          // no member of the private network, or not let in
	KindLeaseLost    Kind = "E_LEASE_LOST"    // the attempt is not wanted any more: revoked, or its lease ran out; or another node owns the job now
	KindNoQuorum     Kind = "E_NO_QUORUM"     // no majority of the keepers of the domain's jobs answers
	KindClock        Kind = "E_CLOCK"         // the clocks of two members differ by more than messages may be off
	KindLimit        Kind = "E_LIMIT"         // another limit of the node
	KindQuota        Kind = "E_QUOTA"         // /outputs is full
	KindNotFound     Kind = "E_NOT_FOUND"     // no such job, path or object
	KindConflict     Kind = "E_CONFLICT"      // not possible in the present state
	KindInternal     Kind = "E_INTERNAL"      // the sidecar could not do its work

	KindExit    Kind = "exit"    // ended with a non-zero exit code
	KindSignal  Kind = "signal"  // ended by a signal
	KindOOM     Kind = "oom"     // killed for memory
	KindTimeout Kind = "timeout" // killed at its deadline
	KindLost    Kind = "lost"    // vanished without an exit code
	KindStopped Kind = "stopped" // stopped by its user
)

// Failure is how a job, a task or a request ended badly. It is data, not an
// error: it is stored, sent and shown as it stands.
type Failure struct {
	Kind     Kind   `json:"kind"`
	Where    string `json:"where,omitempty"`     // stage, task, item or path: "task 3", "inputs[0].cid"
	Detail   string `json:"detail"`              // one sentence, with numbers
	ExitCode int    `json:"exit_code,omitempty"` // of the program; 128+n for signal n
	Hint     string `json:"hint,omitempty"`      // what to do next
}

// Error returns f as an error that carries it; see [AsFailure].
func (f Failure) Error() error { return &FailureError{f} }

// Error returns a bare error of this kind, to be wrapped with a detail by
// fmt.Errorf("%w: ...").
func (k Kind) Error() error { return &FailureError{Failure{Kind: k}} }

// Errorf returns an error of this kind with a detail.
func (k Kind) Errorf(format string, a ...any) error {
	return &FailureError{Failure{Kind: k, Detail: fmt.Sprintf(format, a...)}}
}

// FailureError carries a Failure as a Go error, for functions whose caller
// turns it into a job's end or an HTTP problem. Two of them match by
// errors.Is when their kinds are equal.
type FailureError struct{ Failure Failure }

// Error returns "KIND: where: detail".
func (e *FailureError) Error() string {
	s := string(e.Failure.Kind)
	if e.Failure.Where != "" {
		s += ": " + e.Failure.Where
	}
	if e.Failure.Detail != "" {
		s += ": " + e.Failure.Detail
	}
	return s
}

// Is reports whether target is a FailureError of the same kind.
func (e *FailureError) Is(target error) bool {
	var t *FailureError
	return errors.As(target, &t) && t.Failure.Kind == e.Failure.Kind
}

// AsFailure turns any error into a Failure. An error that carries none
// becomes E_INTERNAL. Text that wraps a bare kind becomes the detail.
// [Problems] become the Failure that their own method returns.
func AsFailure(err error) Failure {
	var problems *Problems
	if errors.As(err, &problems) {
		return problems.Failure()
	}
	var fe *FailureError
	if !errors.As(err, &fe) {
		return Failure{Kind: KindInternal, Detail: err.Error()}
	}
	f := fe.Failure
	if f.Detail == "" || err != error(fe) {
		f.Detail = trimKind(err.Error(), f.Kind)
	}
	return f
}

// trimKind drops "KIND: " where it stands in a wrapped text, as Kind is a
// field of its own.
func trimKind(s string, k Kind) string {
	prefix := string(k) + ": "
	for i := 0; i+len(prefix) <= len(s); i++ {
		if s[i:i+len(prefix)] == prefix {
			return s[:i] + s[i+len(prefix):]
		}
	}
	return s
}
