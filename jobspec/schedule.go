package jobspec

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/ipdc/ipdc/identity"
)

// ScheduleID names a schedule in its domain: a ULID, as that of a job, because
// the keepers hold schedules in the record of jobs.
type ScheduleID string

// NewScheduleID returns an id that begins with a time.
func NewScheduleID(t time.Time) ScheduleID { return ScheduleID(NewJobID(t)) }

// ParseScheduleID reads a whole ULID of 26 characters in either case.
func ParseScheduleID(s string) (ScheduleID, error) {
	id, err := ParseJobID(s)
	if err != nil {
		return "", KindSpec.Errorf("%q is not the id of a schedule", clip(s))
	}
	return ScheduleID(id), nil
}

// String returns the id.
func (id ScheduleID) String() string { return string(id) }

// Recorded is the id in the keepers' record of jobs.
func (id ScheduleID) Recorded() JobID { return JobID(id) }

// Overlap says what becomes of an instant while a job of an earlier one has not ended.
type Overlap string

// The ways of [Overlap].
const (
	OverlapForbid  Overlap = "forbid"  // the instant is missed; the default
	OverlapAllow   Overlap = "allow"   // both jobs run
	OverlapReplace Overlap = "replace" // the earlier job is stopped
)

// ParseOverlap reads one of the ways; "" is the default.
func ParseOverlap(s string) (Overlap, error) {
	switch o := Overlap(s); o {
	case "":
		return OverlapForbid, nil
	case OverlapForbid, OverlapAllow, OverlapReplace:
		return o, nil
	}
	return "", Failure{Kind: KindSpec, Where: "overlap", Detail: fmt.Sprintf("%q is no way to overlap", clip(s)), Hint: "give forbid, allow or replace"}.Error()
}

// CatchUp says how many instants are made up for that nobody could run when
// they were due: the newest ones.
type CatchUp int

// The ways of [CatchUp] that have a name; any other is all:N.
const (
	CatchUpNone CatchUp = 0
	CatchUpLast CatchUp = 1
)

// MaxCatchUp is the greatest N of all:N.
const MaxCatchUp CatchUp = 1000

// ParseCatchUp reads none, last or all:N; "" is last.
func ParseCatchUp(s string) (CatchUp, error) {
	switch s {
	case "none":
		return CatchUpNone, nil
	case "", "last":
		return CatchUpLast, nil
	}
	n, err := strconv.Atoi(strings.TrimPrefix(s, "all:"))
	if !strings.HasPrefix(s, "all:") || err != nil || n < 1 || CatchUp(n) > MaxCatchUp {
		return 0, Failure{
			Kind: KindSpec, Where: "catch_up", Detail: fmt.Sprintf("%q is no way to catch up", clip(s)),
			Hint: fmt.Sprintf("give none, last, or all:N with N from 1 to %d", MaxCatchUp),
		}.Error()
	}
	return CatchUp(n), nil
}

// String returns what [ParseCatchUp] reads.
func (c CatchUp) String() string {
	switch c {
	case CatchUpNone:
		return "none"
	case CatchUpLast:
		return "last"
	}
	return fmt.Sprintf("all:%d", int(c))
}

// MarshalText implements encoding.TextMarshaler.
func (c CatchUp) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (c *CatchUp) UnmarshalText(b []byte) (err error) {
	*c, err = ParseCatchUp(string(b))
	return err
}

// Schedule is a job that is submitted again and again: at instants, or each
// time that a head moves.
type Schedule struct {
	ID       ScheduleID `json:"id"`
	Tenant   string     `json:"tenant"`
	Name     string     `json:"name"`                // one of its tenant's
	Cron     string     `json:"cron,omitempty"`      // five fields, a descriptor such as @daily, or @every DURATION
	Zone     string     `json:"zone,omitempty"`      // IANA name by whose clocks Cron is read; UTC
	OnChange string     `json:"on_change,omitempty"` // the head in place of Cron; its value becomes the first input
	Overlap  Overlap    `json:"overlap"`
	CatchUp  CatchUp    `json:"catch_up"`
	Paused   bool       `json:"paused,omitempty"`
	Spec     Spec       `json:"spec"`     // as it was submitted
	SpecCID  CID        `json:"spec_cid"` //
	Created  time.Time  `json:"created"`  //

	Cursor int64       `json:"cursor"`           // every slot up to this one was decided upon
	Floor  int64       `json:"floor,omitempty"`  // history up to here was forgotten: Cursor never goes below
	Head   CID         `json:"head,omitzero"`    // of OnChange, as it was last seen where it has no versions
	Counts *Counts     `json:"counts,omitempty"` // of OnChange, where it is a dataset; nil = not noted yet
	Tenure *Tenure     `json:"tenure,omitempty"`
	Away   identity.ID `json:"away,omitempty"` // who owns it in place of this node
}

// Counts says what the slots of a schedule that follows a dataset count: one that
// is made anew under the name has another id, and versions from 1, whose slots
// come behind all that were taken.
type Counts struct {
	Dataset string `json:"dataset"`        // its id
	Base    int64  `json:"base,omitempty"` // the slot of a version is Base + version
}

// InstantKind is what made an instant.
type InstantKind string

// The kinds of instants, and what their slots count.
const (
	InstantTime   InstantKind = "time"   // the clock: seconds since 1970
	InstantManual InstantKind = "manual" // run-now: milliseconds since 1970
	InstantChange InstantKind = "change" // a head: its versions, from [Counts.Base]
)

// InstantState is how far an instant is. Due instants become started or missed;
// the others of a job are those of the job's end.
type InstantState string

// The states of an instant.
const (
	InstantDue       InstantState = "due"       // recorded; its job is yet to be made
	InstantStarted   InstantState = "started"   // its job has not ended
	InstantSucceeded InstantState = "succeeded" // likewise
	InstantFailed    InstantState = "failed"    // likewise
	InstantStopped   InstantState = "stopped"   // likewise
	InstantMissed    InstantState = "missed"    // it never had a job, and Missed says why
)

// Live reports whether something is still to come of the instant.
func (s InstantState) Live() bool { return s == InstantDue || s == InstantStarted }

// Missed is why an instant was not run.
type Missed string

// The reasons.
const (
	MissedDown    Missed = "down"     // no node that could was up
	MissedClock   Missed = "clock"    // the clock was set forward over it
	MissedLate    Missed = "late"     // the node was held up, or asleep
	MissedCatchUp Missed = "catch-up" // more were due than the schedule makes up for
	MissedOverlap Missed = "overlap"  // an earlier one had not ended
	MissedPaused  Missed = "paused"   // the schedule was
	MissedRefused Missed = "refused"  // its job was not taken
	MissedMoved   Missed = "moved"    // another member owns the schedule now, and decides
)

// Instant is one run of a schedule, or why it was none. (Schedule, Kind, Slot)
// is unique.
type Instant struct {
	Schedule ScheduleID   `json:"schedule"`
	Kind     InstantKind  `json:"kind"`
	Slot     int64        `json:"slot"`
	At       time.Time    `json:"at"`              // when it was to run; of a change, when it was seen
	Until    time.Time    `json:"until,omitzero"`  // all instants from At to here, which are missed together
	Count    int          `json:"count,omitempty"` // how many these are; 0 = too many to count
	State    InstantState `json:"state"`
	Job      JobID        `json:"job,omitempty"`
	Input    CID          `json:"input,omitzero"`    // of a change: the head's value
	Dataset  string       `json:"dataset,omitempty"` // of a change: NAME@VERSION of the dataset, which the job reads
	Result   CID          `json:"result,omitzero"`
	Missed   Missed       `json:"missed,omitempty"`
	Detail   string       `json:"detail,omitempty"`  // why it was missed or failed
	Noted    time.Time    `json:"noted,omitzero"`    // when this was recorded first
	Started  time.Time    `json:"started,omitzero"`  // when its job was made
	Finished time.Time    `json:"finished,omitzero"` //
}

// JobID is the id of the instant's job. It follows from the schedule and the
// slot, so that whoever makes it, and however often, it is one job.
func (i Instant) JobID() JobID {
	h := sha256.New()
	fmt.Fprintf(h, "%s %s ", i.Schedule, i.Kind)
	_ = binary.Write(h, binary.BigEndian, i.Slot) // never fails
	ms := uint64(max(i.Slot, 0))
	switch i.Kind {
	case InstantTime:
		ms *= 1000
	case InstantChange:
		ms = uint64(max(i.Schedule.Recorded().Time().UnixMilli(), 0))
	}
	var u ulid.ULID
	_ = u.SetTime(min(ms, ulid.MaxTime()))
	_ = u.SetEntropy(h.Sum(nil)[:10])
	return JobID(strings.ToLower(u.String()))
}

// Key is the idempotency key of the instant's job, of its tenant.
func (i Instant) Key() string { return fmt.Sprintf("cron/%s/%s/%d", i.Schedule, i.Kind, i.Slot) }

// Fired says which instant a job is of.
type Fired struct {
	Schedule ScheduleID  `json:"schedule"`
	Kind     InstantKind `json:"kind"`
	Slot     int64       `json:"slot"`
	Epoch    int         `json:"epoch,omitempty"` // of the schedule's owner in the keepers' record
}

// JobID is that of the instant's job.
func (f Fired) JobID() JobID {
	return Instant{Schedule: f.Schedule, Kind: f.Kind, Slot: f.Slot}.JobID()
}

// Text is the reason in words.
func (m Missed) Text() string {
	switch m {
	case MissedDown:
		return "the node was down"
	case MissedClock:
		return "the clock was set forward"
	case MissedLate:
		return "the node was held up, or asleep"
	case MissedCatchUp:
		return "more were due than are made up for"
	case MissedOverlap:
		return "an earlier job had not ended"
	case MissedPaused:
		return "the schedule was paused"
	case MissedRefused:
		return "its job was not taken"
	case MissedMoved:
		return "another member owns the schedule now"
	}
	return string(m)
}
