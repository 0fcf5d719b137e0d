// Package layout is how topics and credentials look, for the client and the
// broker.
//
//	ipdc/DOMAIN/all/TOPIC/FROM  announcements
//	ipdc/DOMAIN/to/TO/FROM      messages to one
//	ipdc/DOMAIN/gone/FROM       last will
//
// Invariant: the last part is who publishes, so that a broker can hold each
// client to its own name by a pattern.
package layout

import (
	"slices"
	"strings"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
)

// MaxPacket is the size of the largest packet, in bytes: a message, its topic
// and what MQTT writes around them. A CONNECT with its password is smaller.
const MaxPacket = bus.MaxMessage + 1<<10

// Topics are those of one domain.
type Topics struct{ prefix string }

// Of returns the topics of a domain.
func Of(d bus.DomainID) Topics { return Topics{"ipdc/" + string(d) + "/"} }

// All is where from announces.
func (t Topics) All(topic bus.Topic, from identity.ID) string {
	return t.prefix + "all/" + string(topic) + "/" + string(from)
}

// To is where from writes to one.
func (t Topics) To(to, from identity.ID) string {
	return t.prefix + "to/" + string(to) + "/" + string(from)
}

// Gone is where the loss of from is told.
func (t Topics) Gone(from identity.ID) string { return t.prefix + "gone/" + string(from) }

// Filters are what self subscribes to.
func (t Topics) Filters(self identity.ID) []string {
	return []string{t.prefix + "all/+/+", t.prefix + "to/" + string(self) + "/+", t.prefix + "gone/+"}
}

// Address is a topic, read.
type Address struct {
	Topic bus.Topic   // of an announcement, else ""
	To    identity.ID // of a message to one, else ""
	From  identity.ID
	Gone  bool
}

// Parse reads a topic; false for all that is none of ours.
func (t Topics) Parse(s string) (a Address, ok bool) {
	rest, ok := strings.CutPrefix(s, t.prefix)
	if !ok || len(s) > 256 {
		return a, false
	}
	parts := strings.Split(rest, "/")
	var errs [2]error
	switch {
	case parts[0] == "all" && len(parts) == 3:
		a.Topic, errs[0] = bus.ParseTopic(parts[1])
	case parts[0] == "to" && len(parts) == 3:
		a.To, errs[0] = identity.ParseID(parts[1])
	case parts[0] == "gone" && len(parts) == 2:
		a.Gone = true
	default:
		return a, false
	}
	a.From, errs[1] = identity.ParseID(parts[len(parts)-1])
	return a, errs[0] == nil && errs[1] == nil
}

// MayPublish reports whether a member may publish there, and retain it.
func (t Topics) MayPublish(self identity.ID, topic string) (publish, retain bool) {
	a, ok := t.Parse(topic)
	if !ok || a.From != self || a.To == self {
		return false, false
	}
	return true, a.Topic.Kept()
}

// MaySubscribe reports whether a member may subscribe to a filter: to those of
// Filters only, so that nobody makes the broker remember more.
func (t Topics) MaySubscribe(self identity.ID, filter string) bool {
	return slices.Contains(t.Filters(self), filter)
}

// MayRead reports whether a member may be given a message of a topic:
// announcements, losses and its own inbox.
func (t Topics) MayRead(self identity.ID, topic string) bool {
	a, ok := t.Parse(topic)
	return ok && (a.To == "" || a.To == self)
}
