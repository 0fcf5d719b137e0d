package dummy

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ipdc/ipdc/jobspec"
)

// Script is what a program does, as its environment says. The probe program of
// the container tests obeys the same variables, so that one suite can ask the
// same of every executor:
//
//	DUMMY_STDOUT, DUMMY_STDERR   text to write at the start
//	DUMMY_LINES                  number of numbered lines to write to stdout after it
//	DUMMY_WRITE...               "path:content", a file to write; any name with this prefix
//	DUMMY_COPY...                "from:to", a tree or file to copy; any name with this prefix
//	DUMMY_SLEEP                  time to run after that; default 0
//	DUMMY_IGNORE_TERM            "1": SIGTERM has no effect
//	DUMMY_EXIT                   exit code; default 0
//	DUMMY_SIGNAL                 number of the signal that ends it in place of an exit
//	DUMMY_OOM                    "1": it is killed for memory
//
// The dummy executor alone also obeys DUMMY_FAIL_CREATE, DUMMY_FAIL_START,
// DUMMY_FAIL_WAIT, DUMMY_FAIL_LOGS, DUMMY_FAIL_STOP and DUMMY_FAIL_REMOVE:
// "[N*][KIND:]text" lets the first N calls (default all) fail with that text
// and jobspec kind.
type Script struct {
	Stdout, Stderr string
	Lines          int
	Writes, Copies []Pair
	Sleep          time.Duration
	IgnoreTerm     bool
	Exit           int
	Signal         int
	OOM            bool

	faults map[string]fault // by call
}

// Pair is a path with a content, or two paths.
type Pair struct{ Path, Value string }

// fault is a call that fails.
type fault struct {
	times int // -1 = always
	err   error
}

// ParseScript reads a Script from an environment. Variables of other names
// are left alone; an unknown DUMMY_ name is an error, as it is a test's typo.
func ParseScript(env []string) (Script, error) {
	s := Script{faults: map[string]fault{}}
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		key, ok := strings.CutPrefix(name, "DUMMY_")
		if !ok {
			continue
		}
		if err := s.set(key, value); err != nil {
			return Script{}, fmt.Errorf("%s=%q: %w", name, value, err)
		}
	}
	return s, nil
}

func (s *Script) set(key, value string) (err error) {
	switch {
	case key == "STDOUT":
		s.Stdout = value
	case key == "STDERR":
		s.Stderr = value
	case key == "LINES":
		s.Lines, err = strconv.Atoi(value)
	case key == "SLEEP":
		s.Sleep, err = time.ParseDuration(value)
	case key == "EXIT":
		s.Exit, err = strconv.Atoi(value)
	case key == "SIGNAL":
		s.Signal, err = strconv.Atoi(value)
	case key == "IGNORE_TERM":
		s.IgnoreTerm, err = strconv.ParseBool(value)
	case key == "OOM":
		s.OOM, err = strconv.ParseBool(value)
	case strings.HasPrefix(key, "WRITE"):
		s.Writes, err = appendPair(s.Writes, value)
	case strings.HasPrefix(key, "COPY"):
		s.Copies, err = appendPair(s.Copies, value)
	case strings.HasPrefix(key, "FAIL_"):
		s.faults[strings.ToLower(strings.TrimPrefix(key, "FAIL_"))] = parseFault(value)
	default:
		return fmt.Errorf("no such variable")
	}
	return err
}

func appendPair(list []Pair, value string) ([]Pair, error) {
	path, rest, ok := strings.Cut(value, ":")
	if !ok || !strings.HasPrefix(path, "/") {
		return nil, fmt.Errorf("want an absolute path, a colon and a value")
	}
	return append(list, Pair{path, rest}), nil
}

func parseFault(value string) fault {
	f := fault{times: -1}
	if n, rest, ok := strings.Cut(value, "*"); ok {
		if times, err := strconv.Atoi(n); err == nil {
			f.times, value = times, rest
		}
	}
	f.err = fmt.Errorf("%s", value)
	if kind, text, ok := strings.Cut(value, ":"); ok && isKind(kind) {
		f.err = jobspec.Kind(kind).Errorf("%s", strings.TrimSpace(text))
	}
	return f
}

func isKind(s string) bool { return strings.HasPrefix(s, "E_") || s == string(jobspec.KindLost) }

// Code returns the exit code that the script ends with by itself.
func (s Script) Code() int {
	switch {
	case s.OOM:
		return 128 + 9
	case s.Signal != 0:
		return 128 + s.Signal
	}
	return s.Exit
}

// Output returns what the script writes to stdout.
func (s Script) Output() string {
	var b strings.Builder
	b.WriteString(s.Stdout)
	for i := range s.Lines {
		fmt.Fprintf(&b, "line %d\n", i+1)
	}
	return b.String()
}
