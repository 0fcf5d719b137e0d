package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ipdc/ipdc/wire/guest"
)

func TestSize(t *testing.T) {
	fi, err := os.Stat(binary)
	if err != nil {
		t.Fatal(err)
	}
	if fi.Size() >= 4<<20 {
		t.Errorf("binary has %d bytes, want under 4 MiB", fi.Size())
	}
}

func TestExitCodes(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, tc := range []struct {
		name    string
		command []string
		code    int
		signal  int
		detail  string // of the start_error line
	}{
		{name: "R29 zero", command: sh("exit 0")},
		{name: "R29 one", command: sh("exit 1"), code: 1},
		{name: "R29 its own 125", command: sh("exit 125"), code: 125},
		{name: "R29 its own 127", command: sh("exit 127"), code: 127},
		{name: "R29 255", command: sh("exit 255"), code: 255},
		{name: "killed", command: sh("kill -9 $$"), code: 137, signal: 9},
		{name: "segmentation fault", command: sh("kill -SEGV $$"), code: 139, signal: 11},
		{name: "not in PATH", command: []string{"no-such-program"}, code: 127, detail: "no such program in PATH"},
		{name: "no such file", command: []string{"/no/such/program"}, code: 127, detail: "no such file"},
		{name: "no interpreter", command: []string{file("a", "#!/no/python9\n", 0o755)}, code: 127, detail: "interpreter"},
		{name: "not executable", command: []string{file("b", "#!/bin/sh\n", 0o644)}, code: 126, detail: "not executable"},
		{name: "not a program", command: []string{file("c", "print(1)\n", 0o755)}, code: 126, detail: "not a program"},
		{name: "a directory", command: []string{dir}, code: 126, detail: "not executable"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newBox(t, nil).run(guest.Task{Command: tc.command})
			if r.code != tc.code {
				t.Errorf("exit code = %d, want %d", r.code, tc.code)
			}
			end := r.lines[len(r.lines)-1]
			if end.Type != guest.LineEnd || end.ExitCode != tc.code || end.Signal != tc.signal {
				t.Errorf("end line = %+v, want exit code %d, signal %d", end, tc.code, tc.signal)
			}
			if tc.detail == "" {
				if len(r.lines) != 1 {
					t.Errorf("report = %+v, want the end line only", r.lines)
				}
				return
			}
			start := r.lines[0]
			if start.Type != guest.LineStartError || start.ExitCode != tc.code || !strings.Contains(start.Detail, tc.detail) {
				t.Errorf("first line = %+v, want start_error %d with %q", start, tc.code, tc.detail)
			}
			if !strings.Contains(r.stderr, start.Detail) {
				t.Errorf("stderr = %q, want it to hold %q", r.stderr, start.Detail)
			}
		})
	}
}

func TestBrokenTask(t *testing.T) {
	for name, text := range map[string]string{"no JSON": "{", "no command": "{}", "unknown feed": `{"command":["sh"],"feed":"x"}`, "bad path": `{"command":["sh"],"items":[{"path":"../x"}]}`} {
		t.Run(name, func(t *testing.T) {
			b := newBox(t, nil)
			cmd := b.command(guest.Task{})
			b.must(os.WriteFile(b.at(guest.TaskFile), []byte(text), 0o644))
			if code := exitCode(t, cmd.Run()); code != guest.ExitGuest {
				t.Errorf("exit code = %d, want %d", code, guest.ExitGuest)
			}
			if l := b.report(); l[0].Type != guest.LineStartError || l[0].ExitCode != guest.ExitGuest {
				t.Errorf("report = %+v, want start_error 125 first", l)
			}
		})
	}
}

func TestSingleCommand(t *testing.T) {
	t.Run("streams, environment and arguments as given", func(t *testing.T) {
		b := newBox(t, map[string]string{"a": "text of a"})
		cmd := b.command(guest.Task{Command: []string{"sh", "-c", `printf '%s|' "$@"; cat; cat "$IPDC_INPUTS/a"; echo oops >&2; echo x >"$IPDC_OUTPUTS/o"`, "sh", "-a", "", "b c"}})
		cmd.Env = append(os.Environ(), "IPDC_INPUTS=/wrong")
		cmd.Stdin = strings.NewReader("R31 never seen")
		var out, errs strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &errs
		if code := exitCode(t, cmd.Run()); code != 0 {
			t.Errorf("exit code = %d, want 0", code)
		}
		if out.String() != "-a||b c|text of a" || errs.String() != "oops\n" || b.outputs()["o"] != "x\n" {
			t.Errorf("stdout = %q, stderr = %q, outputs = %v", out.String(), errs.String(), b.outputs())
		}
	})
	t.Run("feed list", func(t *testing.T) {
		b := newBox(t, nil)
		r := b.run(guest.Task{Feed: guest.FeedList, Items: items("a"), Command: sh(`grep -q '"path":"a"' "$IPDC_TASK" && echo '{"type":"item","path":"a"}' >>"$IPDC_REPORT"; exit 4`)})
		if r.code != 4 || len(r.lines) != 2 || r.lines[0].Path != "a" || r.lines[1].ExitCode != 4 {
			t.Errorf("exit code %d, report %+v; want 4, item a, end 4", r.code, r.lines)
		}
	})
	t.Run("processor time and memory are counted", func(t *testing.T) {
		r := newBox(t, nil).run(guest.Task{Command: sh(`i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done`)})
		if end := r.lines[0]; end.CPU < 1e6 || end.MaxRSS < 1<<18 || end.MaxRSS > 1<<30 {
			t.Errorf("end line = %+v, want more than 1 ms and 256 KiB", end)
		}
	})
	t.Run("a process that is left behind holds nothing", func(t *testing.T) {
		b := newBox(t, nil)
		// No pipes here: os/exec of the test itself would wait for the sleep.
		cmd := b.command(guest.Task{Command: sh(`sleep 1000 & echo $! >"$IPDC_OUTPUTS/pid"`)})
		if code := exitCode(t, cmd.Run()); code != 0 {
			t.Errorf("exit code = %d, want 0", code)
		}
	})
	t.Run("without a report directory", func(t *testing.T) {
		b := newBox(t, nil)
		b.must(os.Remove(b.at(guest.ReportDir)))
		cmd := b.command(guest.Task{Command: sh("exit 3")})
		if code := exitCode(t, cmd.Run()); code != 3 {
			t.Errorf("exit code = %d, want 3", code)
		}
	})
}

// A report that is a link is not followed: the program shares the directory.
func TestReportLink(t *testing.T) {
	b := newBox(t, nil)
	victim := filepath.Join(t.TempDir(), "victim")
	b.must(os.WriteFile(victim, []byte("whole"), 0o644))
	b.must(os.Symlink(victim, b.at(guest.ReportFile)))
	cmd := b.command(guest.Task{Command: sh("exit 0")})
	if code := exitCode(t, cmd.Run()); code != 0 {
		t.Errorf("exit code = %d, want 0", code)
	}
	if text, _ := os.ReadFile(victim); string(text) != "whole" {
		t.Errorf("the link's target became %q", text)
	}
}

// Where nobody reads its streams the guest goes on, and its command meets what
// it meets elsewhere: a signal.
func TestNoReader(t *testing.T) {
	for expr, want := range map[string]int{
		"echo text; echo text >&2; exit 3": 3,
		"kill -PIPE $$":                    128 + int(syscall.SIGPIPE),
	} {
		b := newBox(t, nil)
		cmd := b.command(guest.Task{Command: sh(expr)})
		r, w, err := os.Pipe()
		b.must(err)
		b.must(r.Close())
		cmd.Stdout, cmd.Stderr = w, w
		code := exitCode(t, cmd.Run())
		b.must(w.Close())
		if l := b.report(); code != want || len(l) != 1 || l[0].ExitCode != want {
			t.Errorf("%s: exit code %d, report %+v, want %d", expr, code, l, want)
		}
	}
}

func TestSignals(t *testing.T) {
	for _, tc := range []struct {
		name string
		feed guest.Feed
		expr string // writes to the pipe started, then waits
		sig  syscall.Signal
		code int
	}{
		{"SIGTERM", guest.FeedNone, `echo >"$IPDC_OUTPUTS/../started"; sleep 1000; :`, syscall.SIGTERM, 143},
		// With a trap: a child of dash that is between fork and exec has dash's own
		// handler for SIGINT and forgets the signal, and dash then waits for it.
		{"SIGINT", guest.FeedNone, `trap ': >"$IPDC_OUTPUTS/trapped"; exit 0' INT; echo >"$IPDC_OUTPUTS/../started"; sleep 1000 & wait`, syscall.SIGINT, 130},
		{"the command may clean up", guest.FeedNone, `trap ': >"$IPDC_OUTPUTS/trapped"; exit 0' TERM; echo >"$IPDC_OUTPUTS/../started"; sleep 1000 & wait`, syscall.SIGTERM, 143},
		{"no further item", guest.FeedStdin, `[ $IPDC_ITEM = a ] || : >"$IPDC_OUTPUTS/second"; echo >"$IPDC_OUTPUTS/../started"; sleep 1000; :`, syscall.SIGTERM, 143},
		{"feed list", guest.FeedList, `echo >"$IPDC_OUTPUTS/../started"; sleep 1000; :`, syscall.SIGTERM, 143},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBox(t, map[string]string{"a": "", "b": ""})
			task := guest.Task{Command: sh(tc.expr), Feed: tc.feed, KeepGoing: true}
			if tc.feed != guest.FeedNone {
				task.Items = items("a", "b")
			}
			cmd := b.command(task)
			b.must(syscall.Mkfifo(b.at("started"), 0o600))
			b.must(cmd.Start())
			_, err := os.ReadFile(b.at("started")) // waits for the command to write
			b.must(err)
			b.must(cmd.Process.Signal(tc.sig))
			if code := exitCode(t, cmd.Wait()); code != tc.code {
				t.Errorf("exit code = %d, want %d", code, tc.code)
			}
			if l := b.report(); len(l) != 1 || l[0].Signal != int(tc.sig) {
				t.Errorf("report = %+v, want the end by signal %d only", l, tc.sig)
			}
			out := b.outputs()
			if _, ok := out["second"]; ok {
				t.Error("a further item was run")
			}
			if _, ok := out["trapped"]; ok != strings.Contains(tc.expr, "trap") {
				t.Errorf("outputs = %v: the command's own handler", out)
			}
		})
	}
}
