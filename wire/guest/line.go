package guest

import (
	"encoding/json"
	"math"
	"strings"
	"time"
	"unicode/utf8"
)

// Line is one line of the report. Fields that its type does not name are zero.
type Line struct {
	Type     LineType `json:"type"`
	Path     string   `json:"path,omitempty"`      // item and retry: the item's path
	Outputs  []string `json:"outputs,omitempty"`   // item: files it made, below Outputs
	Error    string   `json:"error,omitempty"`     // item and retry: why it failed; "" = done
	Kind     string   `json:"kind,omitempty"`      // item and failure: KindQuota or ""
	Detail   string   `json:"detail,omitempty"`    // start_error: what could not be started and why; failure: what went wrong
	ExitCode int      `json:"exit_code,omitempty"` // item, retry and end: of the program; start_error: 125, 126 or 127
	Signal   int      `json:"signal,omitempty"`    // item, retry and end: signal that ended the program, 0 = none
	CPU      int64    `json:"cpu_ns,omitempty"`    // end: user and system time of all processes that were waited for
	MaxRSS   int64    `json:"max_rss,omitempty"`   // end: bytes, of the largest process

	Tries     int    `json:"tries,omitempty"`      // item and retry: how many there were; 0 = one
	Stderr    string `json:"stderr,omitempty"`     // item: the end of what its last try wrote to stderr
	StderrCut int64  `json:"stderr_cut,omitempty"` // item: bytes before Stderr that are not in it

	Counters map[string]int64 `json:"counters,omitempty"` // counters: by name, see ValidCounters
}

// LineType says what a Line tells.
type LineType string

// The line types.
const (
	LineItem       LineType = "item"        // an item was done or failed
	LineRetry      LineType = "retry"       // an item failed and is to be tried again; an item line follows unless the task ends before
	LineStartError LineType = "start_error" // the command could not be started
	LineFailure    LineType = "failure"     // why the exit code is not 0, where the program knows it better; the first line counts, as it is nearest to the cause
	LineCounters   LineType = "counters"    // what the program counted; the last line counts
	LineEnd        LineType = "end"         // the guest ends; the last line
)

// KindQuota is the kind of an item that failed because Outputs is full. It is
// jobspec.KindQuota, spelled out as this package imports nothing of ours.
const KindQuota = "E_QUOTA"

// Bounds of a line. What is longer is cut (text) or skipped (all else).
const (
	MaxLine    = 8 << 10 // bytes, newline included
	MaxText    = 1 << 10 // bytes of Error and Detail
	MaxOutputs = 64      // names in Outputs
	MaxStderr  = 2 << 10 // bytes of Stderr; less where the line would be too long
	MaxTries   = 1000    // of an item

	MaxCounters    = 32 // names in Counters
	maxCounterName = 40 // bytes
)

// StderrBudget is how many bytes of Stderr, escapes included, the report of one
// task has at most, on a volume of so many bytes: an item that comes when they
// are used up has none of it.
func StderrBudget(volume int64) int64 { return min(32<<20, max(volume, 0)/16) }

// Pause is how long is waited before items are tried for the n-th time, from
// the second on: a second, doubling to a minute.
func Pause(try int) time.Duration {
	return min(time.Second<<min(max(try-2, 0), 6), time.Minute)
}

// Encode returns the line as it is appended to the report, newline included.
func (l Line) Encode() ([]byte, error) {
	l.Error, l.Detail = clip(l.Error), clip(l.Detail)
	for {
		l.cutStderr(MaxStderr)
		b, err := json.Marshal(l)
		if err != nil || len(b) < MaxLine || l.Stderr == "" {
			return append(b, '\n'), err
		}
		l.cutStderr(len(l.Stderr) / 2) // escapes may have made it long
	}
}

// cutStderr keeps the last bytes of Stderr, as valid UTF-8.
func (l *Line) cutStderr(most int) {
	s := strings.ToValidUTF8(l.Stderr, "\uFFFD")
	cut := max(len(s)-most, 0)
	for cut > 0 && cut < len(s) && !utf8.RuneStart(s[cut]) {
		cut++
	}
	l.Stderr, l.StderrCut = s[cut:], l.StderrCut+int64(cut)
}

// parseLine reads one line, without its newline, from an untrusted report.
func parseLine(b []byte) (Line, bool) {
	var l Line
	if json.Unmarshal(b, &l) != nil || !l.plausible() {
		return Line{}, false
	}
	l.Error, l.Detail = clip(l.Error), clip(l.Detail)
	l.cutStderr(MaxStderr)
	return l, true
}

// plausible reports whether all fields are such as an honest guest writes.
func (l Line) plausible() bool {
	if l.ExitCode < 0 || l.ExitCode > 255 || l.Signal < 0 || l.Signal > 64 || l.CPU < 0 || l.MaxRSS < 0 {
		return false
	}
	if l.Kind != "" && l.Kind != KindQuota {
		return false
	}
	if l.Tries < 0 || l.Tries > MaxTries || l.StderrCut < 0 || l.StderrCut > math.MaxInt64/2 {
		return false
	}
	switch l.Type {
	case LineItem:
		return ValidPath(l.Path) && validOutputs(l.Outputs)
	case LineRetry:
		return ValidPath(l.Path) && l.Error != ""
	case LineStartError:
		return l.ExitCode >= ExitGuest && l.ExitCode <= ExitNotFound
	case LineFailure:
		return l.Detail != ""
	case LineCounters:
		return ValidCounters(l.Counters)
	case LineEnd:
		return true
	}
	return false
}

// ValidCounters reports whether counters are at most MaxCounters, each named
// by 1 to 40 of a-z, 0-9, dot and underscore.
func ValidCounters(counters map[string]int64) bool {
	for name := range counters {
		odd := strings.ContainsFunc(name, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '.' && r != '_'
		})
		if name == "" || len(name) > maxCounterName || odd {
			return false
		}
	}
	return len(counters) <= MaxCounters
}

func validOutputs(names []string) bool {
	for _, n := range names {
		if !ValidPath(n) {
			return false
		}
	}
	return len(names) <= MaxOutputs
}

// clip makes s valid UTF-8 of at most MaxText bytes.
func clip(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= MaxText {
		return s
	}
	s = s[:MaxText]
	for len(s) > 0 {
		if r, n := utf8.DecodeLastRuneInString(s); r != utf8.RuneError || n != 1 {
			break
		}
		s = s[:len(s)-1]
	}
	return s
}
