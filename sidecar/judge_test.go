package sidecar

import (
	"strings"
	"testing"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire/guest"
)

// What the sidecar did comes first, then what the engine saw, then what the
// guest says: a program can write into its own report but not into ours.
func TestJudge(t *testing.T) {
	res := jobspec.Resources{Memory: 512 * jobspec.MiB, Disk: jobspec.GiB}
	stopped := jobspec.AsFailure(errStopped)
	start := &guest.Line{Type: guest.LineStartError, Detail: "no such file", ExitCode: 127}
	lies := outcome{start: start, quota: true, end: &guest.Line{Type: guest.LineEnd}}
	for _, c := range []struct {
		name string
		exit executor.Exit
		why  *jobspec.Failure
		out  outcome
		full bool
		want jobspec.Kind // "" = success
		hint string       // has this in it

		detail string // likewise
	}{
		{name: "success", exit: executor.Exit{}},
		{name: "success although the report says otherwise", exit: executor.Exit{}, out: lies},
		{name: "a full volume is no success", exit: executor.Exit{}, full: true, want: jobspec.KindQuota},
		{name: "all items done", exit: executor.Exit{}, out: outcome{done: 1, items: map[string]*itemDone{"a": {}}}},
		{name: "O13 ended before the last item", exit: executor.Exit{}, out: outcome{done: 1, items: map[string]*itemDone{"a": {}, "b": nil}}, want: jobspec.KindNoOutput},
		{name: "exit", exit: executor.Exit{Code: 19}, out: outcome{end: &guest.Line{ExitCode: 19}}, want: jobspec.KindExit},
		{name: "a program's own 137", exit: executor.Exit{Code: 137}, out: outcome{end: &guest.Line{ExitCode: 137}}, want: jobspec.KindExit},
		{name: "signal", exit: executor.Exit{Code: 139}, out: outcome{end: &guest.Line{ExitCode: 139, Signal: 11}}, want: jobspec.KindSignal},
		{name: "exit that is explained", exit: executor.Exit{Code: 7}, out: outcome{why: "the mapper ended with exit code 7"}, want: jobspec.KindExit, detail: "the mapper"},
		{name: "signal that is explained", exit: executor.Exit{Code: 137}, out: outcome{why: "the mapper ended with signal 9", end: &guest.Line{ExitCode: 137, Signal: 9}}, want: jobspec.KindSignal, detail: "the mapper"},
		{name: "guest killed", exit: executor.Exit{Code: 137}, want: jobspec.KindSignal},
		{name: "oom", exit: executor.Exit{Code: 137, OOM: true}, want: jobspec.KindOOM, hint: "--memory 1GiB "},
		{name: "oom over a large file", exit: executor.Exit{Code: 137, OOM: true}, out: outcome{largest: 1e9}, want: jobspec.KindOOM, hint: "--memory 2GiB "},
		{name: "full", exit: executor.Exit{Code: 1}, full: true, want: jobspec.KindQuota},
		{name: "start", exit: executor.Exit{Code: 127}, out: outcome{start: start}, want: jobspec.KindImageRun},
		{name: "stopped beats all", exit: executor.Exit{Code: 137, OOM: true}, why: &stopped, out: lies, full: true, want: jobspec.KindStopped},
		{name: "stopped although it ended well", exit: executor.Exit{}, why: &stopped, want: jobspec.KindStopped},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := judge(c.exit, c.why, c.out, c.full, res, 10_000)
			switch {
			case got == nil && c.want != "":
				t.Errorf("judge = success, want %s", c.want)
			case got != nil && got.Kind != c.want:
				t.Errorf("judge = %+v, want %q", *got, c.want)
			case got != nil && !strings.Contains(got.Hint, c.hint):
				t.Errorf("hint = %q, want %q in it", got.Hint, c.hint)
			case got != nil && !strings.Contains(got.Detail, c.detail):
				t.Errorf("detail = %q, want %q in it", got.Detail, c.detail)
			case got != nil && (got.Hint == "" && c.why == nil || got.ExitCode != c.exit.Code):
				t.Errorf("judge = %+v, want a hint and exit code %d", *got, c.exit.Code)
			}
		})
	}
}

// A program's own reason is nearer to the cause than what the guest says of
// the program.
func TestFirstReasonCounts(t *testing.T) {
	var o outcome
	o.add(guest.Line{Type: guest.LineFailure, Detail: "t.txt, line 3: ValueError"})
	o.add(guest.Line{Type: guest.LineFailure, Detail: "the mapper ended with exit code 1"})
	if f := judge(executor.Exit{Code: 1}, nil, o, false, jobspec.Resources{}, 1); f.Detail != "t.txt, line 3: ValueError" {
		t.Errorf("detail = %q, want the first reason", f.Detail)
	}
}
