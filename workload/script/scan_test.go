package script_test

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/workload/script"
)

var scanCases = []struct {
	name   string
	source string
	want   string // names with their lines, "async" and "()" where they are so
}{
	{"plain", "import x\n\ndef f(a):\n  return a\n", "f:3"},
	{"two", "def f(a): pass\ndef g(a): pass\n", "f:1 g:2"},
	{"again", "def f(a): pass\ndef g(a): pass\ndef f(): pass\n", "g:2 f:3()"},
	{"async", "async def f(a): pass\nasync  \\\n def g(): pass\n", "f:1async g:2async()"},
	{"decorated", "@d(1,\n  2)\ndef f(a): pass\n", "f:3"},
	{"in a class and an if", "class A:\n  def f(a): pass\nif 1:\n\tdef g(a): pass\nelse:\n def h(a): pass\n", ""},
	{"nested", "def f(a):\n    def g(b): pass\n    return g\n", "f:1"},
	{"comment", "# def f(a):\nx = 1 # '''\ndef g(a): pass\n", "g:3"},
	{"docstring", "'''\ndef f(a): pass\n'''\ndef g(a):\n  \"\"\"\ndef h(a): pass\n  \"\"\"\n", "g:4"},
	{"quotes in quotes", "x = '\"\"\"'\ndef f(a): pass\ny = \"'''\"\nz = ''\ndef g(a): pass\n", "f:2 g:5"},
	{"escaped quotes", "x = 'a\\'b'\ny = r'\\''\nz = b\"\\\\\"\ndef f(a): pass\n", "f:4"},
	{"escaped line end", "x = 'a\\\ndef f(a): pass'\ndef g(a): pass\n", "g:3"},
	{"triple with a quote before its end", "x = '''a\\''''\ndef f(a): pass\n", "f:2"},
	{"brackets", "x = [\n'''\n]''',\ndef_,\n# ]\n]\ndef f(a): pass\n", "f:7"},
	{"continuation", "x = 1 + \\\ndefined\ndef f(a): pass\n", "f:3"},
	{"continuation first", "\\\ndef f(a): pass\n", "f:2"},
	{"form feed", "x = 1\n\fdef f(a): pass\n  \fdef g(a): pass\n", "f:2 g:3"},
	{"tabs", "def\tf\t(\t)\t: pass\n", "f:1()"},
	{"crlf", "x = '''\r\n'''\r\ndef f(\r\n):\r\n  pass\r\n", "f:3()"},
	{"cr", "x = 1\rdef f(a): pass\r", "f:2"},
	{"bom", "\xEF\xBB\xBFdef f(a): pass\n", "f:1"},
	{"no line end", "def f(a): pass", "f:1"},
	{"like def", "define = 1\ndef_ = 2\nundef = 3\ndef f(a): pass\n", "f:4"},
	{"letters", "def größe(a): pass\ndef ﬁx(a): pass\n", "größe:1 fix:2"},
	{"no parameters", "def f(  # none\n\n  ): pass\ndef g(*a): pass\ndef h(a=()): pass\n", "f:1() g:4 h:5"},
	{"type parameters", "def f[T: (int, str) = '()']  (): pass\ndef g[T](a): pass\n", "f:1() g:2"},
	{"f-string", "x = f'{a[\"b\"]}' f\"{{\" rf'\\{a}' f'\\N{LEFT CURLY BRACKET}'\ndef f(a): pass\n", "f:2"},
	{"f-string format", "x = f\"{a:'>10}\" f'{a:{b}}' f'''{a:'>{b!r:\">3}}'''\ndef f(a): pass\n", "f:2"},
	{"f-string of lines", "x = f'''{\na\n:>\n{b}}\ndef g(a): pass\n'''\ndef f(a): pass\n", "f:7"},
	{"f-string, PEP 701", "x = f'{a['b']}' f'{f'{f'{1}'}'}' f'{ # '\n1}'\ndef f(a): pass\n", "f:3"},
	{"all prefixes", "x = [R'\\'', bR'\\'', Rb'\\'', U'', F'{1}', Fr'\\'{1}', rF'{1}']\ndef f(a): pass\n", "f:2"},
	{"unfinished string", "x = 'abc\ndef f(a): pass\n", "f:2"},
	{"unfinished triple", "x = '''abc\ndef f(a): pass\n", ""},
	{"empty", "", ""},
}

func TestScan(t *testing.T) {
	for _, tc := range scanCases {
		t.Run(tc.name, func(t *testing.T) {
			if got := show(script.Scan([]byte(tc.source))); got != tc.want {
				t.Errorf("Scan(%q) = %q, want %q", tc.source, got, tc.want)
			}
		})
	}
}

func show(defs []script.Def) string {
	var list []string
	for _, d := range defs {
		b, _ := json.Marshal(d.Line)
		s := d.Name + ":" + string(b)
		if d.Async {
			s += "async"
		}
		if d.NoParams {
			s += "()"
		}
		list = append(list, s)
	}
	return strings.Join(list, " ")
}

// parseAll prints what CPython's own parser finds in each file of its standard
// library, and in the files named as arguments.
const parseAll = `
import ast, glob, json, os, sys, sysconfig, warnings
warnings.simplefilter("ignore")
files = sys.argv[2:]
for top, dirs, names in os.walk(sysconfig.get_paths()["stdlib"]):
    dirs[:] = sorted(set(dirs) - {"site-packages"})
    files += [os.path.join(top, n) for n in sorted(names) if n.endswith(".py")]
for path in files[:int(sys.argv[1])]:
    try:
        with open(path, "rb") as f: tree = ast.parse(f.read())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        continue
    defs = {}
    for n in tree.body:
        if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef)):
            a = n.args
            none = not (a.args or a.vararg or a.kwonlyargs or a.kwarg or getattr(a, "posonlyargs", 0))
            defs.pop(n.name, None)
            defs[n.name] = {"Name": n.name, "Line": n.lineno, "NoParams": none, "Async": isinstance(n, ast.AsyncFunctionDef)}
    print(json.dumps({"path": path, "defs": list(defs.values())}))
`

func TestScanAgreesWithCPython(t *testing.T) {
	files := "100000"
	if testing.Short() {
		files = "300"
	}
	args := []string{"-c", parseAll, files}
	for i, tc := range scanCases {
		path := t.TempDir() + "/" + strings.ReplaceAll(tc.name, " ", "_") + ".py"
		if err := os.WriteFile(path, []byte(scanCases[i].source), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, path)
	}
	cmd := exec.Command("python3", args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("python3: %v", err)
	}
	seen, found := 0, 0
	lines := bufio.NewScanner(strings.NewReader(string(out)))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var file struct {
			Path string
			Defs []script.Def
		}
		if err := json.Unmarshal(lines.Bytes(), &file); err != nil {
			t.Fatal(err)
		}
		source, err := os.ReadFile(file.Path)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(file.Defs, script.Scan(source)); d != "" {
			t.Errorf("%s (-CPython +Scan):\n%s", file.Path, d)
		}
		seen, found = seen+1, found+len(file.Defs)
	}
	if seen < 250 || found < 500 {
		t.Errorf("compared %d files with %d functions, want more", seen, found)
	}
	t.Logf("compared %d files with %d functions", seen, found)
}

func FuzzScan(f *testing.F) {
	for _, tc := range scanCases {
		f.Add([]byte(tc.source))
	}
	f.Fuzz(func(t *testing.T, source []byte) {
		lines := 1 + strings.Count(string(source), "\n") + strings.Count(string(source), "\r")
		last := 0
		for _, d := range script.Scan(source) {
			if d.Name == "" || d.Line <= last-1 || d.Line > lines {
				t.Errorf("Scan(%q) gave %+v after line %d", source, d, last)
			}
			last = d.Line
		}
	})
}

// A source of the largest size that is all depth must neither overflow nor crawl.
func TestScanDeep(t *testing.T) {
	for _, unit := range []string{"(", "f'{", "f'''{x:{", "'", "\\", "\f", "async ", "def ", "{{", "f'{\""} {
		script.Scan([]byte(strings.Repeat(unit, script.MaxSource/len(unit))))
	}
}
