// Package cl turns a list of lines into a job: a program is run for each line,
// independent of all others. Each line becomes a small file, and the job is one
// of items: results are remembered by line, each line has an end of its own.
//
//	lines, err := cl.Read(list)
//	p, err := cl.Each("wc -c")        // or cl.Python(source, cl.Options{})
//	spec := cl.Spec(p, cl.Job{Slices: 8, Retries: 2})
//	// store lines as a directory of their Names and Contents, p.Files as Run.Code
//
// Invariants: a line is given to a program as data, never as a part of a
// command; each line is in exactly one slice.
package cl

import (
	"fmt"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/workload/script"
)

// Label marks the jobs of this package, as LabelValue.
const (
	Label      = "ipdc.workload"
	LabelValue = "cl"
)

// EnvLine is the variable in which a command finds its line.
const EnvLine = "IPDC_LINE"

// readLine sets IPDC_LINE to the line and runs the command that is its first
// argument, in a shell of its own. The line is read from its file, by the
// shell itself: it costs no process, and leaves standard input to the command.
// A zero byte cannot stand in a variable, and is left out of it.
const readLine = `IFS= read -r IPDC_LINE <"$IPDC_INPUTS/$IPDC_ITEM"; export IPDC_LINE; exec sh -c "$1"`

// Each returns the program that runs a shell command for each line: the line is
// its standard input, with a line feed, and $IPDC_LINE; its standard output is
// the line's output.
func Each(command string) script.Program {
	return script.Program{Run: jobspec.Run{
		Image: "shell", Command: []string{"sh", "-c", readLine, "ipdc-each", command},
		Per: jobspec.PerItem, Feed: jobspec.FeedStdin,
	}}
}

// Python returns the program that calls a function of a Python file for each
// line, as script.Python does for each file.
func Python(source []byte, name, function string) (script.Program, error) {
	return script.Python(source, script.Options{Name: name, Function: function, Lines: true})
}

// Job says how lines are worked at.
type Job struct {
	Slices     int  // K: tasks; 0 = as many as the nodes suit
	Retries    int  // of a line that failed, within its slice
	StopAtFail bool // the first line that fails, in all its tries, fails the job
}

// Spec returns the spec for a program, without its code and input.
func Spec(p script.Program, j Job) jobspec.Spec {
	s := jobspec.Spec{Version: jobspec.Version, Run: p.Run, Labels: map[string]string{Label: LabelValue}}
	s.Run.KeepGoing = !j.StopAtFail
	s.Split.Into, s.Retry.Items = j.Slices, j.Retries
	return s
}

// Cache is what a list's job does with remembered results unless told
// otherwise: with a network everything is done again, as what it gives
// changes, and remembered, so that only what failed has to be tried again.
func Cache(s jobspec.Spec) jobspec.Cache {
	if len(s.Network) > 0 {
		return jobspec.CacheRefresh
	}
	return jobspec.CacheUse
}

// maxPerSlice is how many lines a slice may have: each leaves a file, of which
// a task may write 10,000 by default, and directories count.
const maxPerSlice = 9_000

// CheckSlices refuses slices that would be too large for a node, before any work
// is done.
func CheckSlices(lines, slices int) error {
	if slices <= 0 || (lines+slices-1)/slices <= maxPerSlice {
		return nil
	}
	need := (lines + maxPerSlice - 1) / maxPerSlice
	return jobspec.Failure{
		Kind: jobspec.KindLimit, Where: "-k",
		Detail: fmt.Sprintf("%d lines in %d slices are %d per slice, at most %d are done in one, as each leaves a file", lines, slices, (lines+slices-1)/slices, maxPerSlice),
		Hint:   fmt.Sprintf("give -k %d or more, or leave it out; more slices than nodes are fine", need),
	}.Error()
}

// Again returns the spec of a job that does what is left of another one: lines
// that are done are remembered.
func Again(s jobspec.Spec) (jobspec.Spec, error) {
	if s.Cache == jobspec.CacheOff {
		return s, jobspec.Failure{
			Kind: jobspec.KindSpec, Where: "cache", Detail: "the job ran with cache: off, so nothing that it did is remembered",
			Hint: "do all of it again with ipdc job rerun, or the failed lines: ipdc cl items JOB --failed -o json | jq -r .line | ipdc cl run ... -",
		}.Error()
	}
	s.Cache = jobspec.CacheUse
	return s, nil
}
