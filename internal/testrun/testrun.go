// Package testrun reads what `go test -json` writes, says who has passed, and
// prints what go test without -v and -json would have printed: a line for each
// package, and all that is known of a test that failed.
//
//	ended := func(e testrun.Event) { ... } // {Package: "bus", Test: "TestX/C04_NUL", Action: "pass"}
//	code, err := testrun.Run(ctx, []string{"go", "test", "-json", "./..."}, os.Stdout, os.Stdout, ended)
//
// Invariants: a line that is no event is printed as it is; what a test that is
// not known to have passed has written is never left out.
package testrun

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// Event is the end of a test, or of a package where Test is "". Action is
// pass, fail or skip. A package without tests is skipped.
type Event struct {
	Package, Test, Action string
	Took                  time.Duration // between its pauses, if it is parallel
}

// Run runs a command that writes go test -json and prints its output as Print
// does. It returns the command's exit code; an error means that it could not
// be run or read. When ctx ends the command is interrupted, as by Ctrl-C, and
// its end is waited for.
func Run(ctx context.Context, command []string, out, summary io.Writer, ended func(Event)) (int, error) {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start %s: %w", command[0], err)
	}
	err = Print(stdout, out, summary, ended)
	if err != nil {
		_, _ = io.Copy(io.Discard, stdout) // so that it can end
	}
	var exit *exec.ExitError
	switch ended := cmd.Wait(); {
	case errors.As(ended, &exit) && exit.ExitCode() > 0:
		return exit.ExitCode(), err
	case ended != nil:
		return 1, errors.Join(err, fmt.Errorf("run %s: %w", command[0], ended))
	}
	return 0, err
}

// line is a line of the stream; see go doc test2json.
type line struct {
	Action, Package, Test, Output string
	Elapsed                       float64 // seconds
}

// printer holds what may have to be printed yet.
type printer struct {
	out, summary io.Writer
	ended        func(Event)
	packages     map[string]*unit
	failed       bool
}

// unit is a package whose tests run.
type unit struct {
	said  map[string]*strings.Builder // by test
	order []string                    // of tests, as they began
	begun []string                    // and have not ended
	own   strings.Builder
}

// Print reads a stream to its end. The last lines of each package ("ok", "?",
// "FAIL") go to summary, everything else to out; the caller may give the same
// writer twice.
func Print(stream io.Reader, out, summary io.Writer, ended func(Event)) error {
	p := &printer{out: out, summary: summary, ended: ended, packages: map[string]*unit{}}
	in := bufio.NewReader(stream)
	for {
		text, err := in.ReadBytes('\n')
		var l line
		switch {
		case len(text) == 0:
		case json.Unmarshal(text, &l) != nil || l.Action == "":
			fmt.Fprintf(out, "%s", text)
		default:
			p.line(l)
		}
		if err == io.EOF {
			break
		} else if err != nil {
			return err
		}
	}
	for name, u := range p.packages { // the command was killed
		u.rest(p, name, true)
	}
	if p.failed {
		fmt.Fprintln(p.summary, "FAIL")
	}
	return nil
}

func (p *printer) line(l line) {
	if l.Package == "" { // a build
		fmt.Fprint(p.out, l.Output)
		return
	}
	u := p.packages[l.Package]
	if u == nil {
		u = &unit{said: map[string]*strings.Builder{}}
		p.packages[l.Package] = u
	}
	switch l.Action {
	case "run":
		u.begun = append(u.begun, l.Test)
	case "output":
		u.writer(l.Test).WriteString(l.Output)
	case "pass", "fail", "skip":
		if l.Test != "" {
			u.end(p, l)
		} else {
			p.failed = p.failed || l.Action == "fail"
			u.rest(p, l.Package, l.Action == "fail")
			delete(p.packages, l.Package)
		}
		p.ended(Event{l.Package, l.Test, l.Action, time.Duration(l.Elapsed * float64(time.Second))})
	}
}

func (u *unit) writer(test string) *strings.Builder {
	if test == "" {
		return &u.own
	}
	if u.said[test] == nil {
		u.said[test] = &strings.Builder{}
		u.order = append(u.order, test)
	}
	return u.said[test]
}

// end forgets what a test said that has not failed, and shows a failed one with
// its parts. A race that was seen while a test ran may be another one's, so the
// report of it is kept.
//
// What stands behind the line that a test has passed is the package's, though
// test2json takes it for the test's: a panic elsewhere, or the list of what
// runs when the time is over.
func (u *unit) end(p *printer, l line) {
	u.begun = slices.DeleteFunc(u.begun, func(test string) bool { return test == l.Test })
	said := u.writer(l.Test).String()
	switch {
	case l.Action != "fail" && !strings.Contains(said, "DATA RACE"):
		if at := strings.LastIndex("\n"+said, "\n--- "); at >= 0 {
			_, behind, _ := strings.Cut(said[at:], "\n")
			u.own.WriteString(behind)
		}
		delete(u.said, l.Test)
	case l.Action == "fail" && !strings.Contains(l.Test, "/"):
		u.show(p.out, func(test string) bool { return test == l.Test || strings.HasPrefix(test, l.Test+"/") })
	}
	u.order = slices.DeleteFunc(u.order, func(test string) bool { return u.said[test] == nil })
}

// show prints and forgets some tests.
func (u *unit) show(w io.Writer, which func(test string) bool) {
	for _, test := range u.order {
		if said := u.said[test]; said != nil && which(test) {
			show(w, strings.Count(test, "/"), said.String())
			delete(u.said, test)
		}
	}
}

// show prints what one test said: first how it ended, then the rest, as far to
// the right as go test has it.
func show(w io.Writer, depth int, said string) {
	indent := strings.Repeat("    ", depth)
	var head, rest []string
	for text := range strings.Lines(said) {
		switch {
		case strings.HasPrefix(text, "=== "):
		case strings.HasPrefix(text, "--- "):
			head = append(head, indent+text)
		case strings.HasPrefix(text, "    "):
			rest = append(rest, indent+text)
		default:
			rest = append(rest, text)
		}
	}
	fmt.Fprint(w, strings.Join(head, ""), strings.Join(rest, ""))
}

// rest prints what is left when a package has ended: tests that have not, which
// have failed then, and what the package says itself where it fails.
func (u *unit) rest(p *printer, name string, bad bool) {
	for _, test := range u.begun {
		p.ended(Event{Package: name, Test: test, Action: "fail"})
	}
	u.show(p.out, func(string) bool { return true })
	for text := range strings.Lines(u.own.String()) {
		last := strings.HasPrefix(text, "FAIL") || strings.HasPrefix(text, "ok  \t") || strings.HasPrefix(text, "?   \t") || strings.HasPrefix(text, "\t"+name)
		switch {
		case last:
			fmt.Fprint(p.summary, text)
		case bad && !strings.HasPrefix(text, "=== "):
			fmt.Fprint(p.out, text)
		}
	}
}
