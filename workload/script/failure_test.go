package script_test

import (
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/wire/guest"
	"github.com/ipdc/ipdc/workload/script"
)

var abc = map[string]string{"a": "1", "b": "2", "c": "3"}

func TestFailures(t *testing.T) {
	for _, tc := range []struct {
		name    string
		source  string
		options script.Options
		keep    bool
		code    int
		outputs map[string]string
		lines   []guest.Line
		stderr  []string // parts
		absent  []string // from stderr
	}{
		{
			name:    "an exception ends the batch",
			source:  "def f(file):\n    return g(file)\ndef _h(x):\n    raise ValueError('bad header')\ng = lambda file: _h(file) if file.name == 'b' else file.read()\n",
			options: script.Options{Name: "my script.py", Function: "f"},
			code:    1,
			outputs: map[string]string{"a": "1"},
			lines:   []guest.Line{made("a", "a"), failed("b", "ValueError: bad header (my script.py:4)", 1)},
			stderr:  []string{"ipdc: b: ValueError: bad header (my script.py:4)", `my script.py", line 2, in f`, "raise ValueError('bad header')"},
			absent:  []string{"harness.py"},
		},
		{
			name:    "keep going",
			source:  "def f(file):\n    if file.name == 'b': raise KeyError\n    return file.read()\n",
			keep:    true,
			outputs: map[string]string{"a": "1", "c": "3"},
			lines:   []guest.Line{made("a", "a"), failed("b", "KeyError (process.py:2)", 1), made("c", "c")},
		},
		{
			name:    "the line is the user's, not the library's",
			source:  "import json\n\ndef f(file):\n    return json.loads('{')\n",
			code:    1,
			outputs: map[string]string{},
			lines:   []guest.Line{failed("a", "JSONDecodeError: Expecting property name enclosed in double quotes: line 1 column 2 (char 1) (process.py:4)", 1)},
		},
		{
			name:    "a generator that fails halfway leaves nothing",
			source:  "def f(file):\n    yield 'x' * 1000000\n    raise OSError(28, 'mine')\n",
			keep:    true,
			outputs: map[string]string{},
			lines:   []guest.Line{failed("a", "OSError: [Errno 28] mine (process.py:3)", 1), failed("b", "OSError: [Errno 28] mine (process.py:3)", 1), failed("c", "OSError: [Errno 28] mine (process.py:3)", 1)},
		},
		{
			name:    "sys.exit",
			source:  "import sys\ndef f(file):\n    if file.name == 'b': sys.exit(5)\n    return file.read()\n",
			code:    5,
			outputs: map[string]string{"a": "1"},
			lines:   []guest.Line{made("a", "a"), failed("b", "SystemExit: 5 (process.py:3)", 5)},
		},
		{
			name:    "sys.exit with keep going",
			source:  "import sys\ndef f(file):\n    if file.name == 'b': sys.exit('why')\n    return file.read()\n",
			keep:    true,
			outputs: map[string]string{"a": "1", "c": "3"},
			lines:   []guest.Line{made("a", "a"), failed("b", "SystemExit: why (process.py:3)", 1), made("c", "c")},
		},
		{
			name:    "sys.exit(0) is no success, as items are left",
			source:  "import sys\ndef f(file): sys.exit(0)\n",
			code:    1,
			outputs: map[string]string{},
			lines:   []guest.Line{failed("a", "SystemExit: 0 (process.py:2)", 1)},
		},
		{
			name:    "an import that fails",
			source:  "x = 1\nimport no_such_module\ndef f(file): pass\n",
			keep:    true,
			code:    1,
			outputs: map[string]string{},
			lines:   []guest.Line{failed("a", "ModuleNotFoundError: No module named 'no_such_module' (process.py:2)", 1)},
			stderr:  []string{"Traceback", "line 2", "import no_such_module"},
			absent:  []string{"importlib", "harness.py"},
		},
		{
			name:    "a syntax error",
			source:  "def f(file): pass\nx = = 1\n",
			code:    1,
			outputs: map[string]string{},
			lines:   []guest.Line{failed("a", "SyntaxError: invalid syntax (process.py:2)", 1)},
			stderr:  []string{"x = = 1"},
		},
		{
			name:    "wrong parameters",
			source:  "import os\n\ndef f(file, size): pass\n",
			code:    1,
			outputs: map[string]string{},
			lines:   []guest.Line{failed("a", "TypeError: f() missing 1 required positional argument: 'size' (process.py:3)", 1)},
		},
		{
			name:    "C08 duplicate names",
			source:  "def f(file): return ('same/x', file.read())\n",
			keep:    true,
			outputs: map[string]string{"same/x": "1"},
			lines: []guest.Line{
				made("a", "same/x"),
				failed("b", "ValueError: output same/x: same/x is already made by input a and would be made by input b too (process.py:1)", 1),
				failed("c", "ValueError: output same/x: same/x is already made by input a and would be made by input c too (process.py:1)", 1),
			},
		},
		{
			name:    "file and folder of one name",
			source:  "def f(file): return ({'a': 'x/y', 'b': 'x', 'c': 'x/y/z'}[file.name], b'')\n",
			keep:    true,
			outputs: map[string]string{"x/y": ""},
			lines: []guest.Line{
				made("a", "x/y"),
				failed("b", "ValueError: output x: x is already made by input a and would be made by input b too (process.py:1)", 1),
				failed("c", "ValueError: output x/y/z: x/y is already made by input a and would be made by input c too (process.py:1)", 1),
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			end := job{source: tc.source, options: tc.options, keep: tc.keep, inputs: abc}.run(t)
			if end.code != tc.code {
				t.Errorf("exit code = %d, want %d", end.code, tc.code)
			}
			if d := cmp.Diff(tc.outputs, end.outputs); d != "" {
				t.Errorf("outputs (-want +got):\n%s", d)
			}
			if d := cmp.Diff(tc.lines, end.items); d != "" {
				t.Errorf("report (-want +got):\n%s", d)
			}
			for _, part := range tc.stderr {
				if !strings.Contains(end.stderr, part) {
					t.Errorf("stderr lacks %q:\n%s", part, end.stderr)
				}
			}
			for _, part := range tc.absent {
				if strings.Contains(end.stderr, part) {
					t.Errorf("stderr has %q:\n%s", part, end.stderr)
				}
			}
		})
	}
}

func failed(path, text string, code int) guest.Line {
	return guest.Line{Type: guest.LineItem, Path: path, Error: text, ExitCode: code}
}

// Whatever the user's file is called and does to the interpreter, the harness works.
func TestHostileSurroundings(t *testing.T) {
	for name, j := range map[string]job{
		"file called as a module that the harness needs": {source: "import os\ndef f(file): return file.read()\n", options: script.Options{Name: "json.py"}},
		"file called as the harness":                     {source: "def f(file): return file.read()\n", options: script.Options{Name: "harness.py"}},
		"file without suffix":                            {source: "def f(file): return file.read()\n", options: script.Options{Name: "job"}},
		"streams closed":                                 {source: "import sys\ndef f(file):\n  sys.stdout.close(); sys.stderr = None\n  return file.read()\n"},
		"errors with long and odd texts":                 {source: "class E(Exception):\n  def __str__(self): raise E\ndef f(file):\n  raise E if file.name == 'a' else ValueError('\\ud800\\0' * 9999)\n", keep: true},
		"decorated":                                      {source: "import functools\n@functools.lru_cache()\ndef f(file): return file.read()\n"},
		"dataclass and pickle":                           {source: "import pickle\nclass P: pass\ndef f(file): pickle.loads(pickle.dumps(P())); return file.read()\n"},
		"garbage in the report":                          {source: "import os\nfd = os.open(os.environ['IPDC_REPORT'], os.O_WRONLY | os.O_APPEND)\ndef f(file): return ('x', b'') if file.name == 'c' else file.read()\n"},
	} {
		t.Run(name, func(t *testing.T) {
			j.inputs = abc
			end := j.run(t)
			if end.code != 0 || len(end.items) != 3 {
				t.Errorf("exit code %d, report %+v\n%s", end.code, end.items, end.stderr)
			}
		})
	}
}

// A full volume ends the batch even with keep going, and its report comes through.
func TestFullVolume(t *testing.T) {
	for name, source := range map[string]string{
		"in write": "def f(file): return b'x' * 90_000\n",
		"in close": `import os
def f(file):
    with open(os.environ["IPDC_OUTPUTS"] + "/ballast", "ab", 0) as ballast:
        while file.name == "b":
            try: ballast.write(b"x" * 4096)
            except OSError: break
    return b"y" * 100
`,
	} {
		t.Run("O12 "+name, func(t *testing.T) {
			volume := t.TempDir()
			if err := syscall.Mount("tmpfs", volume, "tmpfs", 0, "size=256k"); err != nil {
				t.Skipf("mount a small tmpfs (needs root): %v", err)
			}
			t.Cleanup(func() { must(t, syscall.Unmount(volume, syscall.MNT_DETACH)) })
			end := job{source: source, inputs: abc, keep: true, volume: volume}.run(t)
			last := end.items[len(end.items)-1]
			if end.code != 1 || last.Kind != guest.KindQuota || len(end.items) == 3 && last.Path != "c" {
				t.Errorf("exit code %d, report %+v, want an E_QUOTA line\n%s", end.code, end.items, end.stderr)
			}
		})
	}
}

// What the function writes to stderr, and its traceback, stand in the item's
// line.
func TestStderrOfItems(t *testing.T) {
	end := job{
		source: "import sys\ndef f(file):\n  print('x' * 5000 + 'about ' + file.name, file=sys.stderr)\n  if file.name == 'b': raise ValueError('\\udcff')\n  sys.stderr.flush()\n  return b''\n",
		inputs: abc, keep: true,
	}.run(t)
	if end.code != 0 || len(end.tails) != 3 {
		t.Fatalf("ending %+v", end)
	}
	for i, want := range []string{"xabout a\n", "process.py\", line 4, in f", "xabout c\n"} {
		if got := end.tails[i]; !strings.Contains(got, want) || len(got) > guest.MaxStderr || strings.Contains(got, "about") != strings.Contains(want, "about") && i != 1 {
			t.Errorf("stderr of item %d = %q, want %q in it", i, got, want)
		}
	}
	if !strings.Contains(end.stderr, "about a\n") || !strings.Contains(end.stderr, "ipdc: b: ") {
		t.Errorf("the log lacks it: %q", end.stderr)
	}
}

func TestRetries(t *testing.T) {
	source := "seen = []\ndef f(file):\n  seen.append(file.name)\n  if file.name != 'c' and seen.count(file.name) < (2 if file.name == 'a' else 9): raise OSError('later')\n  return ' '.join(seen)\n"
	later := func(path string, kind guest.LineType, tries int) guest.Line {
		return guest.Line{Type: kind, Path: path, Error: "OSError: later (process.py:4)", ExitCode: 1, Tries: tries}
	}
	second := made("a", "a")
	second.Tries = 2
	end := job{source: source, inputs: abc, keep: true, retries: 1}.run(t)
	want := []guest.Line{later("a", guest.LineRetry, 1), later("b", guest.LineRetry, 1), made("c", "c"), second, later("b", guest.LineItem, 2)}
	if d := cmp.Diff(want, end.items); end.code != 0 || d != "" {
		t.Errorf("exit code %d, report (-want +got):\n%s", end.code, d)
	}
	if d := cmp.Diff(map[string]string{"a": "a b c a", "c": "a b c"}, end.outputs); d != "" {
		t.Errorf("outputs (-want +got):\n%s", d)
	}
}

func TestLines(t *testing.T) {
	for _, tc := range []struct{ name, expr, in, want string }{
		{"text", `line.upper()`, "a b\n", "A B"},
		{"bytes", `line.encode()`, "é\n", "é"},
		{"dict", `{"line": line, "n": 1}`, "é\n", "{\"line\": \"é\", \"n\": 1}\n"},
		{"no UTF-8", `line.encode("utf-8", "surrogateescape")[::-1]`, "\xff\x00a\n", "a\x00\xff"},
		{"no UTF-8 in a dict", `{"l": line}`, "\xff\n", "{\"l\": \"\xff\"}\n"},
		{"only the line end goes", `repr(line)`, " a\r \n", `' a\r '`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			end := job{
				source: "def help(): pass\ndef crawl(line): return " + tc.expr + "\n", options: script.Options{Name: "crawler.py", Lines: true},
				inputs: map[string]string{"x": tc.in},
			}.run(t)
			if end.code != 0 || end.outputs["x"] != tc.want {
				t.Errorf("exit code %d, output %q, want %q\n%s", end.code, end.outputs["x"], tc.want, end.stderr)
			}
		})
	}
	if _, err := script.Python([]byte("x = 1\n"), script.Options{Lines: true}); err == nil || !strings.Contains(err.Error(), "no function") {
		t.Errorf("Python without a function = %v, want a refusal", err)
	}
}
