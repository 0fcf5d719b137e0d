package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/jobspec"
)

// The exit codes. docs/cli.md lists them; scripts rely on them.
const (
	exitOK          = 0
	exitError       = 1
	exitUsage       = 2
	exitNoNode      = 3
	exitNotFound    = 4
	exitNobody      = 5 // no node can take the job
	exitJobFailed   = 6
	exitMismatch    = 7 // a signature or a block does not hold
	exitStopped     = 8
	exitTimedOut    = 124 // wait --timeout
	exitNotStarted  = 125 // the container could not be started, as docker run
	exitInterrupted = 130
)

// exitByKind is the one table from failures to exit codes. Kinds that are
// missing are exitError for a request.
var exitByKind = map[jobspec.Kind]int{
	jobspec.KindSpec:      exitUsage,
	jobspec.KindDupKey:    exitUsage,
	jobspec.KindNotFound:  exitNotFound,
	jobspec.KindPolicy:    exitNobody,
	jobspec.KindSignature: exitMismatch,
	jobspec.KindBlockHash: exitMismatch,
	jobspec.KindImageRef:  exitNotStarted,
	jobspec.KindImageGone: exitNotStarted,
	jobspec.KindPullStall: exitNotStarted,
	jobspec.KindImageRun:  exitNotStarted,
	jobspec.KindStopped:   exitStopped,
	jobspec.KindLost:      exitNobody, // of a request: the member that it is about cannot be reached
}

// jobError is a job that did not succeed. Its failure has been shown.
type jobError struct{ failure jobspec.Failure }

func (e jobError) Error() string { return string(e.failure.Kind) }

// code maps a job's failure: the container that could not be started keeps
// docker's codes, all else that is not in the table is a failed job.
func (e jobError) code() int {
	switch k := e.failure.Kind; k {
	case jobspec.KindImageRun:
		if c := e.failure.ExitCode; c == 126 || c == 127 {
			return c
		}
		return exitNotStarted
	case jobspec.KindStopped, jobspec.KindImageRef, jobspec.KindImageGone, jobspec.KindPullStall, jobspec.KindPolicy:
		return exitByKind[k]
	}
	return exitJobFailed
}

// exit prints err and returns the exit code for it.
func (a *app) exit(err error) int {
	if err == nil {
		return exitOK
	}
	var usage usageError
	var job jobError
	var late timedOut
	var ran exitCode
	switch {
	case errors.As(err, &ran):
		return int(ran)
	case errors.As(err, &job):
		return job.code()
	case errors.Is(err, errInterrupted), errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.As(err, &late):
		a.say("ipdc: %v", err)
		return exitTimedOut
	case errors.As(err, &usage):
		a.say("ipdc: %v", err)
		return exitUsage
	case errors.Is(err, client.ErrNoNode):
		a.say("ipdc: %v\nhint: start one with: ipdc node start -d; one that runs as a service is reached by: sudo IPDC_PATH=/var/lib/ipdc ipdc ...", err)
		return exitNoNode
	}
	f, known := a.failureOf(err)
	if !known {
		if strings.HasPrefix(err.Error(), "unknown command") {
			a.say("ipdc: %v", err)
			return exitUsage
		}
		a.say("ipdc: %v", err)
		return exitError
	}
	a.say("ipdc: %s", describeFailure(f))
	if code, ok := exitByKind[f.Kind]; ok {
		return code
	}
	return exitError
}

// failureOf returns the failure in err, in the words of the command line, and
// whether it has one. What was said around it stands before its detail.
func (a *app) failureOf(err error) (f jobspec.Failure, known bool) {
	var refusal *client.Error
	var fe *jobspec.FailureError
	var ps *jobspec.Problems
	inner := ""
	switch {
	case errors.As(err, &refusal):
		f, inner = refusal.Failure(), refusal.Error()
		var list []string
		for _, d := range refusal.Problem.Errors {
			list = append(list, (jobspec.Problem{Path: a.where(d.Path), Detail: d.Detail, Hint: d.Hint}).String())
		}
		listProblems(&f, list)
	case errors.As(err, &ps):
		f, inner = ps.Failure(), ps.Error()
		var list []string
		for _, p := range ps.List {
			p.Path = a.where(p.Path)
			list = append(list, p.String())
		}
		listProblems(&f, list)
	case errors.As(err, &fe):
		if f, inner = fe.Failure, fe.Error(); f.Detail == "" {
			return jobspec.AsFailure(err), true
		}
	default:
		return f, false
	}
	f.Where = a.where(f.Where)
	if around, _, found := strings.Cut(err.Error(), inner); found {
		f.Detail = around + f.Detail
	}
	return f, true
}

// listProblems gives each of several problems a line.
func listProblems(f *jobspec.Failure, list []string) {
	if len(list) > 1 {
		f.Detail = fmt.Sprintf("%d problems:\n  %s", len(list), strings.Join(list, "\n  "))
	}
}

// describeFailure is a failure for people: kind, place, what, and what to do.
func describeFailure(f jobspec.Failure) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s", f.Kind)
	if f.Where != "" {
		fmt.Fprintf(&b, ": %s", f.Where)
	}
	fmt.Fprintf(&b, ": %s", f.Detail)
	if f.Hint != "" {
		fmt.Fprintf(&b, "\nhint: %s", f.Hint)
	}
	return visible(b.String())
}
