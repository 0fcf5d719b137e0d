package script_test

import (
	"archive/zip"
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/wire/guest"
	"github.com/ipdc/ipdc/workload/script"
)

// The shortest thing a user can write: imports and one function.
func TestVisionExample(t *testing.T) {
	end := job{
		source: "import io\nimport json\n\ndef downscale(file):\n    return file.read()[::2]\n",
		inputs: map[string]string{"a.txt": "aXbXcX", "d/é ü.txt": "1-2-", "empty": ""},
	}.run(t)
	want := map[string]string{"a.txt": "abc", "d/é ü.txt": "12", "empty": ""}
	if d := cmp.Diff(want, end.outputs); end.code != 0 || d != "" {
		t.Errorf("exit code %d, outputs (-want +got):\n%s\nstderr:\n%s", end.code, d, end.stderr)
	}
	if d := cmp.Diff([]guest.Line{made("a.txt", "a.txt"), made("d/é ü.txt", "d/é ü.txt"), made("empty", "empty")}, end.items); d != "" {
		t.Errorf("report (-want +got):\n%s", d)
	}
}

func made(path string, outputs ...string) guest.Line {
	return guest.Line{Type: guest.LineItem, Path: path, Outputs: outputs}
}

func TestReturnedValues(t *testing.T) {
	for _, tc := range []struct {
		name, expr string
		file       string // output of item d/a; default "d/a"
		want       string // its text, "-" for no output
		refused    string // part of the item's error
	}{
		{name: "bytes", expr: `b"\x00\xff"`, want: "\x00\xff"},
		{name: "no bytes", expr: `b""`, want: ""},
		{name: "bytearray", expr: `bytearray(b"ab")`, want: "ab"},
		{name: "memoryview", expr: `memoryview(b"abcd")[::2]`, want: "ac"},
		{name: "str", expr: `"ü€"`, want: "ü€"},
		{name: "None", expr: `None`, want: "-"},
		{name: "list", expr: `["a", b"b", bytearray(b"c")]`, want: "abc"},
		{name: "empty list", expr: `[]`, want: ""},
		{name: "generator", expr: `(line.upper() for line in file)`, want: "TEXT\nOF A\n"},
		{name: "map", expr: `map(str, [1, 2])`, want: "12"},
		{name: "own iterable", expr: `type("T", (), {"__iter__": lambda s: iter(["x"])})()`, want: "x"},
		{name: "named", expr: `("e/f.txt", "text")`, file: "e/f.txt", want: "text"},
		{name: "named generator", expr: `("e", (c for c in "xyz"))`, file: "e", want: "xyz"},

		{name: "int", expr: `7`, refused: "TypeError: f returned int; return bytes, str, an iterable of them, (name, data) or None (process.py:1)"},
		{name: "bool", expr: `False`, refused: "returned bool"},
		{name: "dict", expr: `{"a": 1}`, refused: "returned dict; return text: json.dumps(...)"},
		{name: "set", expr: `{"a"}`, refused: "sorted(...)"},
		{name: "BytesIO", expr: `io.BytesIO(b"x")`, refused: ".getvalue()"},
		{name: "the file", expr: `file`, refused: "returned InputFile; return its content: .read()"},
		{name: "list of int", expr: `[b"a", 7]`, refused: "an iterable with int in it"},
		{name: "tuple of three", expr: `("a", "b", "c")`, refused: "a tuple that is not (name, data)"},
		{name: "tuple of bytes", expr: `(b"a", b"b")`, refused: "a tuple that is not (name, data)"},
		{name: "named nothing", expr: `("a", None)`, refused: "returned NoneType"},
		{name: "picture", expr: `type("Image", (), {"__module__": "PIL.Image"})()`, refused: "buf = io.BytesIO(); img.save(buf, 'JPEG'); return buf.getvalue()"},
		{name: "array", expr: `type("ndarray", (), {"__module__": "numpy", "__iter__": lambda s: iter("x")})()`, refused: "returned ndarray; return bytes: buf = io.BytesIO()"},
		{name: "lone surrogate", expr: `"\ud800"`, refused: "UnicodeEncodeError"},

		{name: "K01 name above", expr: `("../x", b"")`, refused: "returned the name '../x'"},
		{name: "K01 name from the root", expr: `("/x", b"")`, refused: "returned the name"},
		{name: "name with zero", expr: `("a\0", b"")`, refused: "returned the name"},
		{name: "name with dots", expr: `("a/./b", b"")`, refused: "returned the name"},
		{name: "name of a folder", expr: `("a/", b"")`, refused: "returned the name"},
		{name: "name with a line end", expr: `("a\nb", b"")`, refused: "returned the name"},
		{name: "no name", expr: `("", b"")`, refused: "returned the name"},
		{name: "name that is no text", expr: `("\ud800", b"")`, refused: "returned the name"},
		{name: "name too long", expr: `("a" * 300, b"")`, refused: "File name too long"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			end := job{
				source: "def f(file): return " + tc.expr + "\nimport io\n",
				inputs: map[string]string{"d/a": "text\nof a\n"},
			}.run(t)
			want, code := map[string]string{}, 0
			if tc.file == "" {
				tc.file = "d/a"
			}
			if tc.refused != "" {
				code = 1
				if got := end.items[0]; !strings.Contains(got.Error, tc.refused) || got.Path != "d/a" || got.ExitCode != 1 {
					t.Errorf("report %+v, want an error with %q", got, tc.refused)
				}
			} else if tc.want != "-" {
				want[tc.file] = tc.want
				if d := cmp.Diff([]guest.Line{made("d/a", tc.file)}, end.items); d != "" {
					t.Errorf("report (-want +got):\n%s", d)
				}
			}
			if d := cmp.Diff(want, end.outputs); end.code != code || d != "" {
				t.Errorf("exit code %d, want %d; outputs (-want +got):\n%s\nstderr:\n%s", end.code, code, d, end.stderr)
			}
		})
	}
}

// What the function gets is a real file with a friendly name.
func TestInputFile(t *testing.T) {
	var z bytes.Buffer
	w := zip.NewWriter(&z)
	if f, err := w.Create("inner"); err != nil {
		t.Fatal(err)
	} else if _, err := f.Write([]byte("zipped")); err != nil {
		t.Fatal(err)
	}
	must(t, w.Close())
	for _, tc := range []struct{ name, body, want string }{
		{"name", `return file.name`, "d/a.csv"},
		{"name opens", `return open(file.name, "rb").read(3)`, "x;y"},
		{"name opens after the function moved", `os.chdir("/"); return file.read(3)`, "x;y"},
		{"mode", `return file.mode`, "rb"},
		{"fileno", `return os.pread(file.fileno(), 3, 4)`, "1;2"},
		{"seek and read", `file.read(5); file.seek(2); return file.read(1)`, "y"},
		{"readinto", `b = bytearray(3); file.readinto(b); return b`, "x;y"},
		{"mmap", `import mmap; return mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)[:3]`, "x;y"},
		{"csv", `rows = list(csv.reader(io.TextIOWrapper(file, "utf-8", newline=""), delimiter=";")); return rows[1][1]`, "2"},
		{"text name", `return io.TextIOWrapper(file).name`, "d/a.csv"},
		{"zipfile", `return zipfile.ZipFile("z").read("inner") + zipfile.ZipFile(open("z", "rb")).filename.encode()`, "zippedz"},
		{"closed by the function", `file.close(); return b"ok"`, "ok"},
		{"not writable", `return str(file.writable())`, "False"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			end := job{
				source: "import csv, io, os, zipfile\ndef f(file):\n    " + tc.body + "\n",
				inputs: map[string]string{"d/a.csv": "x;y\n1;2\n", "z": z.String()},
				items:  []string{"d/a.csv"},
			}.run(t)
			if got := end.outputs["d/a.csv"]; end.code != 0 || got != tc.want {
				t.Errorf("exit code %d, output %q, want %q\n%s", end.code, got, tc.want, end.stderr)
			}
		})
	}
	end := job{
		source: "import zipfile\ndef f(file): return zipfile.ZipFile(file).read('inner')\n",
		inputs: map[string]string{"d/z.zip": z.String()},
	}.run(t)
	if end.code != 0 || end.outputs["d/z.zip"] != "zipped" {
		t.Errorf("zipfile over the file: exit code %d, outputs %q\n%s", end.code, end.outputs, end.stderr)
	}
}

func TestManyItems(t *testing.T) {
	inputs := map[string]string{}
	for i := range 1000 {
		inputs[fmt.Sprintf("d%d/f%d", i%7, i)] = fmt.Sprint(i)
	}
	j := job{source: "n = 0\ndef f(file):\n  global n; n += 1\n  print(n)\n  return b'<' + file.read() + b'>'\n", inputs: inputs}
	end := j.run(t)
	if end.code != 0 || len(end.outputs) != 1000 || len(end.items) != 1000 || end.outputs["d2/f9"] != "<9>" {
		t.Errorf("exit code %d, %d outputs, %d lines", end.code, len(end.outputs), len(end.items))
	}
	if !strings.HasSuffix(end.stdout, "\n999\n1000\n") {
		t.Errorf("stdout does not end with the last item")
	}
	if d := cmp.Diff(end.outputs, j.run(t).outputs); d != "" {
		t.Errorf("second run differs:\n%s", d)
	}
}

func TestScripts(t *testing.T) {
	inputs := map[string]string{"a": "1", "d/b": "2"}
	t.Run("python once", func(t *testing.T) {
		end := job{
			source: "import os\nprint(sorted(os.listdir(os.environ['IPDC_INPUTS'])), __name__)\nopen(os.environ['IPDC_OUTPUTS'] + '/o', 'w').write('x')\n",
			inputs: inputs,
		}.run(t)
		if end.code != 0 || end.stdout != "['a', 'd'] __main__\n" || end.outputs["o"] != "x" {
			t.Errorf("ending %+v", end)
		}
	})
	t.Run("shell per item", func(t *testing.T) {
		p := script.Shell(`printf '%s=' "$IPDC_ITEM"; cat`, false)
		end := job{program: &p, inputs: inputs}.run(t)
		if d := cmp.Diff(map[string]string{"a": "a=1", "d/b": "d/b=2"}, end.outputs); d != "" {
			t.Errorf("outputs (-want +got):\n%s", d)
		}
	})
	t.Run("shell once", func(t *testing.T) {
		p := script.Shell("cat a d/b >\"$IPDC_OUTPUTS/o\"; echo \"it's\"; exit 3 # end", true)
		end := job{program: &p, inputs: inputs}.run(t)
		if end.code != 3 || end.stdout != "it's\n" || end.outputs["o"] != "12" {
			t.Errorf("ending %+v", end)
		}
	})
}
