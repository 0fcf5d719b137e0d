package schedule

import (
	"fmt"
	"strings"
	"sync"
	"time"
	_ "time/tzdata" // a host may have no database of time zones

	"github.com/netresearch/go-cron"

	"github.com/ipdc/ipdc/jobspec"
)

// maxExpr is the length of an expression. Lists of all minutes and hours fit.
const maxExpr = 256

// horizon is how far ahead the first instant may be, in years: February 29
// comes every four.
const horizon = 5

// Expr says when a schedule runs. Its methods are pure and bounded.
//
// Five fields are read by the clocks of a zone. Where these are set forward or
// back, this holds:
//
//   - A schedule of every hour ("*" in the second field, or all of 0-23) follows
//     the time that passes: the hour that is skipped has no instants, the one
//     that comes twice has them twice.
//   - Any other runs once for each local time that it names. One that does not
//     exist is run at the first moment after the gap; several of one gap are
//     one instant. One that exists twice is run the first time.
//
// @every counts from the schedule's creation, in elapsed time.
type Expr struct {
	every  time.Duration // 0: by wall
	anchor time.Time     // of every

	wall   cron.Schedule // over local times that are written as if they were UTC
	hourly bool          // all hours of the day
	zone   *time.Location
}

var parser = cron.MustNewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor | cron.DowOrDom).
	WithMaxSearchYears(horizon)

// ParseExpr reads an expression in a zone, "" for UTC. What fires more often
// than each min, or never within five years from now, is refused with E_SPEC.
// anchor is when the schedule was created.
func ParseExpr(text, zone string, anchor, now time.Time, min time.Duration) (Expr, error) {
	e, err := compile(text, zone, anchor)
	if err != nil {
		return e, err
	}
	if e.Next(now).IsZero() {
		return e, refuse("cron", fmt.Sprintf("%q never comes within the next %d years", text, horizon), "check day and month: February has no 30th")
	}
	return e, e.checkPace(now, min)
}

// compile reads an expression that may never fire, or too often.
func compile(text, zone string, anchor time.Time) (Expr, error) {
	e := Expr{anchor: anchor.UTC().Truncate(time.Second)}
	var err error
	if e.zone, err = parseZone(zone); err != nil {
		return e, err
	}
	if err := checkText(text); err != nil {
		return e, err
	}
	if rest, ok := strings.CutPrefix(text, "@every "); ok {
		e.every, err = time.ParseDuration(strings.TrimSpace(rest))
		if err != nil || e.every <= 0 || e.every%time.Second != 0 {
			return e, refuse("cron", fmt.Sprintf("%q is no duration of whole seconds", rest), "write it as @every 90m")
		}
		if e.every > horizon*365*24*time.Hour {
			return e, refuse("cron", fmt.Sprintf("every %s is longer than %d years", e.every, horizon), "give a shorter interval")
		}
		return e, nil
	}
	if e.wall, err = parser.Parse(text); err != nil {
		return e, refuse("cron", fmt.Sprintf("%q is no cron expression: %v", text, err), fieldsHint)
	}
	spec, ok := e.wall.(*cron.SpecSchedule)
	if !ok {
		return e, refuse("cron", fmt.Sprintf("%q is no cron expression", text), fieldsHint)
	}
	spec.Location = time.UTC
	e.hourly = spec.Hour&allHours == allHours
	return e, nil
}

const allHours = 1<<24 - 1

const fieldsHint = `give minute, hour, day of month, month and day of week, such as "0 2 * * *"; or @hourly, @daily, @weekly, @monthly, @yearly, @every 90m`

// checkText refuses what is not worth parsing, with bounded work.
func checkText(text string) error {
	if len(text) > maxExpr {
		return refuse("cron", fmt.Sprintf("the expression has %d characters, at most %d are read", len(text), maxExpr), fieldsHint)
	}
	digits := 0
	for _, r := range text {
		if r >= '0' && r <= '9' {
			digits++
		} else {
			digits = 0
		}
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if digits > 9 || !letter && digits == 0 && !strings.ContainsRune(" */,-?@.", r) {
			return refuse("cron", fmt.Sprintf("%q is no cron expression", text), fieldsHint)
		}
	}
	if text == "" || strings.TrimSpace(text) != text {
		return refuse("cron", fmt.Sprintf("%q is no cron expression", text), fieldsHint)
	}
	return nil
}

func parseZone(name string) (*time.Location, error) {
	if name == "" {
		return time.UTC, nil
	}
	if loc, ok := zones.Load(name); ok {
		return loc.(*time.Location), nil
	}
	loc, err := time.LoadLocation(name)
	if err != nil || name == "Local" || len(name) > 64 {
		return nil, refuse("zone", fmt.Sprintf("%.64q is no time zone", name), "give an IANA name such as Europe/Lisbon; without one it is UTC")
	}
	zones.Store(name, loc)
	return loc, nil
}

// zones are those that were read, by name: there are some six hundred.
var zones sync.Map

// paceInstants are how many instants the pace of an expression is judged by: a
// day of minutes.
const paceInstants = 1441

// checkPace refuses what fires too often.
func (e Expr) checkPace(now time.Time, min time.Duration) error {
	least := e.every
	if least == 0 && min <= time.Minute {
		return nil // five fields cannot say less
	}
	if e.every == 0 {
		at := e.Next(now)
		for range paceInstants {
			next := e.Next(at)
			if next.IsZero() {
				break
			}
			if d := next.Sub(at); least == 0 || d < least {
				least = d
			}
			at = next
		}
	}
	if least == 0 || least >= min {
		return nil
	}
	return refuse("cron", fmt.Sprintf("it comes every %s, this node runs a schedule every %s at most", least, min),
		"let it come less often, or lower the node's setting cron-interval")
}

func refuse(where, detail, hint string) error {
	return jobspec.Failure{Kind: jobspec.KindSpec, Where: where, Detail: detail, Hint: hint}.Error()
}

// mostSeconds bounds the times that instants are looked for at, from 1970: years
// of four digits, as far as a [time.Time] is written down.
const mostSeconds = 8000 * 366 * 24 * 3600

// Next returns the first instant after t, in whole seconds of UTC, or zero when
// there is none within five years.
func (e Expr) Next(t time.Time) time.Time {
	if s := t.Unix(); s < -mostSeconds || s > mostSeconds {
		return time.Time{}
	}
	t = t.UTC()
	switch {
	case e.every > 0: // in seconds: a time.Duration ends at 292 years
		every, from := int64(e.every/time.Second), e.anchor.Unix()
		return time.Unix(from+(max(t.Unix()-from, 0)/every+1)*every, 0).UTC()
	case e.hourly:
		return e.nextElapsed(t)
	}
	for w := e.wall.Next(wallOf(t, e.zone)); !w.IsZero(); w = e.wall.Next(w) {
		if at := first(w, e.zone); at.After(t) {
			return at
		}
	}
	return time.Time{}
}

// nextElapsed follows one offset of the zone after the other.
func (e Expr) nextElapsed(t time.Time) time.Time {
	limit := t.AddDate(horizon, 0, 1)
	for t.Before(limit) {
		local := t.In(e.zone)
		_, offset := local.Zone()
		_, end := local.ZoneBounds()
		w := e.wall.Next(wallOf(t, e.zone))
		at := w.Add(-time.Duration(offset) * time.Second)
		if !w.IsZero() && (end.IsZero() || at.Before(end)) {
			return at.UTC()
		}
		if end.IsZero() {
			return time.Time{}
		}
		t = end.UTC()
		if w = wallOf(t, e.zone); e.wall.Next(w.Add(-time.Second)).Equal(w) {
			return t
		}
	}
	return time.Time{}
}

// wallOf is what clocks of the zone show at t, written as if it were UTC.
func wallOf(t time.Time, zone *time.Location) time.Time {
	_, offset := t.In(zone).Zone()
	return wallAt(t, offset)
}

func wallAt(t time.Time, offset int) time.Time {
	return t.UTC().Add(time.Duration(offset) * time.Second)
}

// first returns the first moment at which clocks of the zone show w, or, where
// none does, the first one after the gap.
func first(w time.Time, zone *time.Location) time.Time {
	// No offset is more than a day from UTC: all that matter are near.
	t := w.Add(-36 * time.Hour)
	for {
		local := t.In(zone)
		_, offset := local.Zone()
		_, end := local.ZoneBounds()
		at := w.Add(-time.Duration(offset) * time.Second)
		if end.IsZero() || at.Before(end) {
			if at.Before(t) { // w was skipped when this offset began
				return t
			}
			return at
		}
		t = end.UTC()
	}
}

// Between returns the newest instants after from, up to and including to: at
// most limit of them, the earliest first. older says how many there are before
// them, up to maxCount, or -1 for more; firstOlder and lastOlder are these.
func (e Expr) Between(from, to time.Time, limit int) (list []time.Time, firstOlder, lastOlder time.Time, older int) {
	if start := to.Add(-maxWindow); from.Before(start) {
		from = start
	}
	start := from
	for window := 24 * time.Hour; ; window *= 4 {
		if begin := to.Add(-window); begin.After(from) {
			start = begin
		} else {
			start = from
		}
		list = e.collect(start, to, limit)
		if start.Equal(from) || len(list) >= limit || window > maxWindow {
			break
		}
	}
	if len(list) == 0 {
		return nil, firstOlder, lastOlder, 0
	}
	firstOlder = e.Next(from)
	if !firstOlder.Before(list[0]) {
		return list, time.Time{}, time.Time{}, 0
	}
	for at := firstOlder; at.Before(list[0]); at = e.Next(at) {
		if older++; older > maxCount {
			older = -1
			break
		}
	}
	return list, firstOlder, list[0].Add(-time.Second), older
}

// maxWindow is how far back instants are looked for, whatever a file says of
// the newest one.
const maxWindow = 100 * 365 * 24 * time.Hour

// maxCount is how many instants are counted that are missed together.
const maxCount = 10_000

// collect keeps the last limit instants in a window.
func (e Expr) collect(from, to time.Time, limit int) (list []time.Time) {
	for at := e.Next(from); !at.IsZero() && !at.After(to); at = e.Next(at) {
		list = append(list, at)
		if len(list) >= 2*limit {
			list = append(list[:0], list[len(list)-limit:]...)
		}
	}
	return list[max(0, len(list)-limit):]
}
