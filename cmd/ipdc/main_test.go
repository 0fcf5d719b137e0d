package main

import (
	"errors"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ipdc/ipdc/jobspec"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"ipdc": main})
}

// TestScripts runs the command lines in testdata/script that need no engine.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", filepath.Join(env.WorkDir, "home"))
			env.Setenv("IPDC_PATH", filepath.Join(env.WorkDir, "state"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
	})
}

// exits runs a command and checks its exit code: exits 3 ipdc job list.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("%q: exit code %d, want %d", args[1:], got, want)
	}
}

func TestK03K06Visible(t *testing.T) {
	for in, want := range map[string]string{
		"plain é 日本":          "plain é 日本",
		"two\nlines":          "two\nlines",
		"a\x1b[31mred":        `a\x1b[31mred`,
		"title\x1b]0;x\x07":   `title\x1b]0;x\a`,
		"cr\rfake row":        `cr\rfake row`,
		"bidi \u202e gnp.exe": `bidi \u202e gnp.exe`,
		"zero\u200bwidth":     `zero\u200bwidth`,
		"c1 \u009b2J":         `c1 \u009b2J`,
		"not utf8 \xff":       "not utf8 \ufffd",
		"no\u00a0break space": `no\u00a0break space`,
	} {
		if got := visible(in); got != want {
			t.Errorf("visible(%q) = %q, want %q", in, got, want)
		}
	}
}

// Every kind of failure has an exit code that is meant for it.
func TestJobExitCodes(t *testing.T) {
	for _, c := range []struct {
		f    jobspec.Failure
		want int
	}{
		{jobspec.Failure{Kind: jobspec.KindExit, ExitCode: 19}, 6},
		{jobspec.Failure{Kind: jobspec.KindOOM, ExitCode: 137}, 6},
		{jobspec.Failure{Kind: jobspec.KindTimeout}, 6},
		{jobspec.Failure{Kind: jobspec.KindFetchTimeout}, 6},
		{jobspec.Failure{Kind: jobspec.KindStopped}, 8},
		{jobspec.Failure{Kind: jobspec.KindImageRun, ExitCode: 127}, 127},
		{jobspec.Failure{Kind: jobspec.KindImageRun, ExitCode: 126}, 126},
		{jobspec.Failure{Kind: jobspec.KindImageRun}, 125},
		{jobspec.Failure{Kind: jobspec.KindImageRef}, 125},
	} {
		if got := (jobError{c.f}).code(); got != c.want {
			t.Errorf("code(%s, %d) = %d, want %d", c.f.Kind, c.f.ExitCode, got, c.want)
		}
	}
}
