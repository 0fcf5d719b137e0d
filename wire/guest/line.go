package guest

import (
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// Line is one line of the report. Fields that its type does not name are zero.
type Line struct {
	Type     LineType `json:"type"`
	Path     string   `json:"path,omitempty"`      // item: the item's path
	Outputs  []string `json:"outputs,omitempty"`   // item: files it made, below Outputs
	Error    string   `json:"error,omitempty"`     // item: why it failed; "" = done
	Kind     string   `json:"kind,omitempty"`      // item and failure: KindQuota or ""
	Detail   string   `json:"detail,omitempty"`    // start_error: what could not be started and why; failure: what went wrong
	ExitCode int      `json:"exit_code,omitempty"` // item and end: of the program; start_error: 125, 126 or 127
	Signal   int      `json:"signal,omitempty"`    // end: signal that ended the program, 0 = none
	CPU      int64    `json:"cpu_ns,omitempty"`    // end: user and system time of all processes that were waited for
	MaxRSS   int64    `json:"max_rss,omitempty"`   // end: bytes, of the largest process

	Counters map[string]int64 `json:"counters,omitempty"` // counters: by name, see ValidCounters
}

// LineType says what a Line tells.
type LineType string

// The line types.
const (
	LineItem       LineType = "item"        // an item was done or failed
	LineStartError LineType = "start_error" // the command could not be started
	LineFailure    LineType = "failure"     // why the exit code is not 0, where the program knows it better; the last line counts
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

	MaxCounters    = 32 // names in Counters
	maxCounterName = 40 // bytes
)

// Encode returns the line as it is appended to the report, newline included.
func (l Line) Encode() ([]byte, error) {
	l.Error, l.Detail = clip(l.Error), clip(l.Detail)
	b, err := json.Marshal(l)
	return append(b, '\n'), err
}

// parseLine reads one line, without its newline, from an untrusted report.
func parseLine(b []byte) (Line, bool) {
	var l Line
	if json.Unmarshal(b, &l) != nil || !l.plausible() {
		return Line{}, false
	}
	l.Error, l.Detail = clip(l.Error), clip(l.Detail)
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
	switch l.Type {
	case LineItem:
		return ValidPath(l.Path) && validOutputs(l.Outputs)
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
