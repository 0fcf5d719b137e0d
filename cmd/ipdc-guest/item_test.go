package main_test

import (
	"fmt"
	"os"
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
				done("a"), {Type: guest.LineItem, Path: "x/y/b", Error: "ended by signal 9 (killed)", ExitCode: 137}, done("x/c"),
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
