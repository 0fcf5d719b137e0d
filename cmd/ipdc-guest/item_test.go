package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/wire/guest"
)

func TestItems(t *testing.T) {
	for _, tc := range []struct {
		name    string
		inputs  map[string]string
		items   []string
		command []string
		keep    bool
		code    int
		outputs map[string]string
		lines   []guest.Line // without the end
	}{
		{
			name:    "stdin to stdout, parents made",
			inputs:  map[string]string{"a": "one\n", "d/e f/ü": "two\n"},
			items:   []string{"a", "d/e f/ü"},
			command: []string{"tr", "a-z", "A-Z"},
			outputs: map[string]string{"a": "ONE\n", "d/e f/ü": "TWO\n"},
			lines:   []guest.Line{done("a"), done("d/e f/ü")},
		},
		{
			name:    "the item's path",
			inputs:  map[string]string{"d/a": ""},
			items:   []string{"d/a"},
			command: sh(`printf %s "$IPDC_ITEM"`),
			outputs: map[string]string{"d/a": "d/a"},
			lines:   []guest.Line{done("d/a")},
		},
		{
			name:    "failure ends the batch and keeps what is there",
			inputs:  map[string]string{"a": "1", "b": "2", "c": "3"},
			items:   []string{"a", "b", "c"},
			command: sh(`cat; [ $IPDC_ITEM != b ] || exit 7`),
			code:    7,
			outputs: map[string]string{"a": "1", "b": "2"},
			lines:   []guest.Line{done("a"), {Type: guest.LineItem, Path: "b", Error: "exit code 7", ExitCode: 7}},
		},
		{
			name:    "keep going leaves no trace of what failed",
			inputs:  map[string]string{"a": "1", "x/y/b": "2", "x/c": "3"},
			items:   []string{"a", "x/y/b", "x/c"},
			command: sh(`cat; [ $IPDC_ITEM != x/y/b ] || kill -9 $$`),
			keep:    true,
			outputs: map[string]string{"a": "1", "x/c": "3"},
			lines: []guest.Line{
				done("a"), {Type: guest.LineItem, Path: "x/y/b", Error: "ended by signal 9 (killed)", ExitCode: 137, Signal: 9}, done("x/c"),
			},
		},
		{
			name:    "a command that cannot start ends the batch",
			inputs:  map[string]string{"a": "1", "b": "2"},
			items:   []string{"a", "b"},
			command: []string{"no-such-program"},
			keep:    true,
			code:    127,
			outputs: map[string]string{},
			lines:   []guest.Line{{Type: guest.LineStartError, Detail: "start no-such-program: no such program in PATH", ExitCode: 127}},
		},
		{
			name:    "what another item wrote is not overwritten",
			inputs:  map[string]string{"a": "1", "b": "2"},
			items:   []string{"a", "b"},
			command: sh(`cat; echo mine >"$IPDC_OUTPUTS/b"`),
			keep:    true,
			outputs: map[string]string{"a": "1", "b": "mine\n"},
			lines:   []guest.Line{done("a"), {Type: guest.LineItem, Path: "b", Error: "create output: file exists", ExitCode: 1}},
		},
		{
			name:    "a link in the outputs is not followed out",
			inputs:  map[string]string{"a": "1", "d/b": "2"},
			items:   []string{"a", "d/b"},
			command: sh(`cat; ln -s /tmp "$IPDC_OUTPUTS/d"; rm "$IPDC_OUTPUTS/a"`),
			code:    1,
			lines:   []guest.Line{done("a"), {Type: guest.LineItem, Path: "d/b", Error: "create output: path escapes from parent", ExitCode: 1}},
		},
		{
			name:    "an item that is missing is the sidecar's fault",
			items:   []string{"a"},
			command: []string{"cat"},
			keep:    true,
			code:    125,
			outputs: map[string]string{},
			lines:   []guest.Line{{Type: guest.LineStartError, Detail: "open input a: no such file or directory", ExitCode: 125}},
		},
		{name: "no items", command: []string{"cat"}, outputs: map[string]string{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBox(t, tc.inputs)
			r := b.run(guest.Task{Command: tc.command, Feed: guest.FeedStdin, KeepGoing: tc.keep, Items: items(tc.items...)})
			if r.code != tc.code {
				t.Errorf("exit code = %d, want %d; stderr %s", r.code, tc.code, r.stderr)
			}
			if d := cmp.Diff(tc.lines, r.lines[:len(r.lines)-1]); d != "" && len(tc.lines) > 0 {
				t.Errorf("report (-want +got):\n%s", d)
			}
			if tc.outputs == nil {
				return
			}
			if d := cmp.Diff(tc.outputs, b.outputs()); d != "" {
				t.Errorf("outputs (-want +got):\n%s", d)
			}
		})
	}
}

// What an item writes to stderr is in the log and, its end, in the report.
func TestItemStderr(t *testing.T) {
	noise := "i=0; while [ $i -lt 300 ]; do echo 0123456789 >&2; i=$((i+1)); done; "
	b := newBox(t, map[string]string{"a": "", "b": "", "c": "", "d": ""})
	r := b.run(guest.Task{Feed: guest.FeedStdin, KeepGoing: true, Items: items("a", "b", "c", "d"), Command: sh(`case $IPDC_ITEM in
a) echo out; echo fine >&2;;
b) ` + noise + `printf 'last\377\001' >&2; exit 3;;
c) ;;
d) (setsid sleep 1000 >/dev/null </dev/null & echo $! >"$IPDC_OUTPUTS/../pid"); echo early >&2;;
esac`)})
	if pid, err := os.ReadFile(b.at("pid")); err == nil {
		t.Cleanup(func() { _ = exec.Command("kill", strings.TrimSpace(string(pid))).Run() })
	}
	long := strings.Repeat("0123456789\n", 300) + "last\xff\x01"
	want := []guest.Line{
		{Type: guest.LineItem, Path: "a", Outputs: []string{"a"}, Stderr: "fine\n"},
		{Type: guest.LineItem, Path: "b", Error: "exit code 3", ExitCode: 3},
		done("c"),
		{Type: guest.LineItem, Path: "d", Outputs: []string{"d"}, Stderr: "early\n"},
	}
	got := r.lines[:len(r.lines)-1]
	if len(got) < 2 || !strings.HasSuffix(got[1].Stderr, "0123456789\nlast\ufffd\x01") || len(got[1].Stderr) > guest.MaxStderr || got[1].StderrCut < int64(len(long)-guest.MaxStderr) {
		t.Fatalf("report %+v, want the end of b's stderr", got)
	}
	got[1].Stderr, got[1].StderrCut = "", 0
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("report (-want +got):\n%s", d)
	}
	if !strings.Contains(r.stderr, "fine\n"+long) || !strings.Contains(r.stderr, "early\n") {
		t.Errorf("the log lacks what items wrote; it has %d bytes", len(r.stderr))
	}
}

func TestItemRetries(t *testing.T) {
	for _, tc := range []struct {
		name    string
		keep    bool
		retries int
		fails   int // tries of b
		code    int
		lines   []guest.Line
		order   string
	}{
		{"a second try does it", false, 1, 1, 0, []guest.Line{
			done("a"), {Type: guest.LineRetry, Path: "b", Error: "exit code 7", ExitCode: 7}, done("c"),
			{Type: guest.LineItem, Path: "b", Outputs: []string{"b"}, Tries: 2, Stderr: "try\n"},
		}, "a b c b "},
		{"it fails for good", true, 1, 9, 0, []guest.Line{
			done("a"), {Type: guest.LineRetry, Path: "b", Error: "exit code 7", ExitCode: 7}, done("c"),
			{Type: guest.LineItem, Path: "b", Error: "exit code 7", ExitCode: 7, Tries: 2, Stderr: "try\n"},
		}, "a b c b "},
		{"it fails for good and ends the batch", false, 1, 9, 7, []guest.Line{
			done("a"), {Type: guest.LineRetry, Path: "b", Error: "exit code 7", ExitCode: 7}, done("c"),
			{Type: guest.LineItem, Path: "b", Error: "exit code 7", ExitCode: 7, Tries: 2, Stderr: "try\n"},
		}, "a b c b "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBox(t, map[string]string{"a": "1", "b": "2", "c": "3"})
			expr := fmt.Sprintf(`cat; printf '%%s ' $IPDC_ITEM >>"$IPDC_OUTPUTS/../order"
[ $IPDC_ITEM = b ] || exit 0; echo try >&2; echo >>"$IPDC_OUTPUTS/../tries"; [ $(wc -l <"$IPDC_OUTPUTS/../tries") -gt %d ] || exit 7`, tc.fails)
			r := b.run(guest.Task{Command: sh(expr), Feed: guest.FeedStdin, KeepGoing: tc.keep, Retries: tc.retries, Items: items("a", "b", "c")})
			if d := cmp.Diff(tc.lines, r.lines[:len(r.lines)-1]); d != "" || r.code != tc.code {
				t.Errorf("exit code %d, want %d; report (-want +got):\n%s", r.code, tc.code, d)
			}
			if order, err := os.ReadFile(b.at("order")); err != nil || string(order) != tc.order {
				t.Errorf("items in the order %q, %v; want %q", order, err, tc.order)
			}
			if _, kept := b.outputs()["b"]; kept != (tc.fails == 1 || !tc.keep) {
				t.Errorf("outputs = %v", b.outputs())
			}
		})
	}
}

func done(p string) guest.Line {
	return guest.Line{Type: guest.LineItem, Path: p, Outputs: []string{p}}
}

func TestItemsNeverHang(t *testing.T) {
	big := strings.Repeat("line\n", 1<<20)
	t.Run("a command that stops reading", func(t *testing.T) {
		b := newBox(t, map[string]string{"a": big, "b": big})
		r := b.run(guest.Task{Command: []string{"head", "-n", "1"}, Feed: guest.FeedStdin, Items: items("a", "b")})
		if d := cmp.Diff(map[string]string{"a": "line\n", "b": "line\n"}, b.outputs()); r.code != 0 || d != "" {
			t.Errorf("exit code %d, outputs (-want +got):\n%s", r.code, d)
		}
	})
	t.Run("R12 processes left behind write nothing later", func(t *testing.T) {
		b := newBox(t, map[string]string{"a": "", "b": ""})
		expr := `if [ $IPDC_ITEM = a ]; then (sleep 1000; echo late) & echo $! >"$IPDC_OUTPUTS/pid"; else ! kill -0 $(cat "$IPDC_OUTPUTS/pid") 2>/dev/null || grep -q '^State:.Z' /proc/$(cat "$IPDC_OUTPUTS/pid")/status; fi`
		r := b.run(guest.Task{Command: sh(expr), Feed: guest.FeedStdin, Items: items("a", "b")})
		if r.code != 0 {
			t.Errorf("exit code %d: a process of the first item lives beside the second", r.code)
		}
	})
}

// The report of a full volume must come through although it stands on that
// volume.
func TestFullVolume(t *testing.T) {
	for _, tc := range []struct{ name, options string }{
		{"bytes", "size=256k"},
		{"files", "size=1m,nr_inodes=9"}, // root, 3 directories, report, reserve, 2 items + 1
	} {
		t.Run("O12 "+tc.name, func(t *testing.T) {
			volume := mountTmpfs(t, tc.options)
			inputs := map[string]string{}
			var paths []string
			for i := range 8 {
				name := fmt.Sprint(i)
				inputs[name], paths = strings.Repeat("x", 60_000), append(paths, name)
			}
			b := newBox(t, inputs)
			for _, d := range []string{guest.ReportDir, guest.Outputs} {
				b.must(os.Remove(b.at(d)))
				sub := volume + "/" + strings.ReplaceAll(d[1:], "/", "-")
				b.must(os.Mkdir(sub, 0o755))
				b.must(os.Symlink(sub, b.at(d)))
			}
			r := b.run(guest.Task{Command: []string{"cat"}, Feed: guest.FeedStdin, KeepGoing: true, Items: items(paths...)})
			if r.code == 0 || len(r.lines) < 3 {
				t.Fatalf("exit code %d, report %+v; want a failure and its line", r.code, r.lines)
			}
			last, end := r.lines[len(r.lines)-2], r.lines[len(r.lines)-1]
			if last.Kind != guest.KindQuota || !strings.Contains(last.Error, "no space left") || end.Type != guest.LineEnd {
				t.Errorf("last lines %+v, %+v; want E_QUOTA and the end", last, end)
			}
		})
	}
}

func mountTmpfs(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("mount a small tmpfs (needs root): %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}
