package bus

import "sync/atomic"

// Drop says why a message was not taken. Nothing else is done about it: who
// sent it is not known for sure, and an answer would help an attacker.
type Drop int

// The reasons, in the order in which they are checked.
const (
	DropKept        Drop = iota // an old announcement on a topic that keeps none: a command from the past
	DropForm                    // not the CBOR of an envelope, too large, or of another version
	DropDomain                  // of another domain
	DropSelf                    // our own
	DropFrom                    // the medium names another sender than the envelope
	DropTo                      // for somebody else, or announced elsewhere than signed
	DropStale                   // expired
	DropEarly                   // from the future, by more than clocks may differ
	DropSignature               // not signed by its sender
	DropCertificate             // the sender is not, or no longer, a member
	DropReplay                  // seen before
	DropReply                   // answers nothing that was asked, or a member that was not asked
	DropType                    // nobody here handles it
	DropBody                    // the body is not what its type says
	DropBusy                    // all workers are at work
	drops                       // how many there are
)

var dropNames = [drops]string{
	"kept", "form", "domain", "self", "from", "to", "stale", "early", "signature", "certificate", "replay", "reply", "type", "body", "busy",
}

// String returns one word, fit for the label of a metric.
func (d Drop) String() string {
	if d < 0 || d >= drops {
		return "unknown"
	}
	return dropNames[d]
}

// counts counts drops; it may be used from any goroutine.
type counts [drops]atomic.Int64

// snapshot returns all counts, also those of 0, by name.
func (c *counts) snapshot() map[string]int64 {
	m := make(map[string]int64, drops)
	for i := range c {
		m[Drop(i).String()] = c[i].Load()
	}
	return m
}
