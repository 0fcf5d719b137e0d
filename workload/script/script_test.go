package script_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/workload/script"
)

func TestPythonProgram(t *testing.T) {
	const source = "from PIL import Image\n\ndef downscale(file):\n    ...\n"
	t.Run("function", func(t *testing.T) {
		p, err := script.Python([]byte(source), script.Options{})
		if err != nil {
			t.Fatal(err)
		}
		want := jobspec.Run{
			Image: "python", Command: []string{"python3", "/code/harness.py", "process.py", "downscale"},
			Per: jobspec.PerItem, Feed: jobspec.FeedList,
		}
		if d := cmp.Diff(want, p.Run, cmp.Comparer(func(a, b jobspec.CID) bool { return a == b })); d != "" {
			t.Errorf("run (-want +got):\n%s", d)
		}
		if got := slices.Sorted(maps.Keys(p.Files)); !slices.Equal(got, []string{"harness.py", "process.py"}) {
			t.Errorf("files = %v", got)
		}
		if string(p.Files["process.py"]) != source {
			t.Errorf("process.py = %q", p.Files["process.py"])
		}
	})
	t.Run("script", func(t *testing.T) {
		p, err := script.Python([]byte(source), script.Options{Name: "my tool.py", Once: true})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(p.Run.Command, []string{"python3", "/code/my tool.py"}) || p.Run.Per != jobspec.PerTask || p.Run.Feed != "" || len(p.Files) != 1 {
			t.Errorf("program = %+v", p)
		}
	})
	t.Run("a file called harness.py", func(t *testing.T) {
		p, err := script.Python([]byte(source), script.Options{Name: "harness.py"})
		if err != nil || string(p.Files["harness.py"]) != source || p.Run.Command[1] != "/code/ipdc_harness.py" {
			t.Errorf("program = %v, %v", p.Run.Command, err)
		}
	})
}

func TestPythonChoice(t *testing.T) {
	for _, tc := range []struct {
		name    string
		source  string
		options script.Options
		fn      string   // "" = script
		refused []string // parts of the failure
	}{
		{name: "the only one", source: "def f(a): pass\n", fn: "f"},
		{name: "the only public one", source: "def _g(a): pass\ndef f(a): pass\nclass C:\n  def h(a): pass\n", fn: "f"},
		{name: "process among several", source: "def a(x): pass\ndef process(x): pass\n", fn: "process"},
		{name: "named", source: "def a(x): pass\ndef b(x): pass\n", options: script.Options{Function: "b"}, fn: "b"},
		{name: "named and private", source: "def a(x): pass\ndef _b(x): pass\n", options: script.Options{Function: "_b"}, fn: "_b"},
		{name: "no function", source: "print(1)\n"},
		{name: "private functions only", source: "def _a(x): pass\n"},
		{name: "once", source: "def a(x): pass\n", options: script.Options{Once: true}},
		{name: "empty", source: ""},
		{name: "several", source: "def a(x): pass\n\ndef b(x): pass\n", refused: []string{"a (line 1), b (line 3)", "--function NAME", "--once"}},
		{name: "named but missing", source: "def a(x): pass\ndef _b(x): pass\n", options: script.Options{Function: "c"}, refused: []string{"no function c", "a (line 1), _b (line 2)", "--function NAME"}},
		{name: "named, none there", source: "x = 1\n", options: script.Options{Function: "c"}, refused: []string{"there is none"}},
		{name: "very many", source: strings.Join(numbered(30), ""), refused: []string{"f09 (line 10) and 20 more"}},
		{name: "async", source: "async def a(x): pass\n", refused: []string{"a (line 1) is an async function", "asyncio.run"}},
		{name: "without parameter", source: "def main(): pass\nif __name__ == '__main__': main()\n", refused: []string{"main (line 1) takes no parameter", "--once"}},
		{name: "both options", source: "def a(x): pass\n", options: script.Options{Function: "a", Once: true}, refused: []string{"--once", "--function"}},
		{name: "no text", source: "\x7fELF\x00", refused: []string{"not Python source"}},
		{name: "too large", source: strings.Repeat("#", script.MaxSource+1), refused: []string{"1048577 bytes", "1048576"}},
		{name: "name with a folder", options: script.Options{Name: "../x.py"}, refused: []string{"name"}},
		{name: "name that is none", options: script.Options{Name: ".."}, refused: []string{"name"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, err := script.Python([]byte(tc.source), tc.options)
			if tc.refused != nil {
				checkRefused(t, err, tc.refused)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			fn := ""
			if p.Run.Per == jobspec.PerItem {
				fn = p.Run.Command[3]
			}
			if fn != tc.fn {
				t.Errorf("function = %q, want %q", fn, tc.fn)
			}
		})
	}
}

func numbered(n int) (list []string) {
	for i := range n {
		list = append(list, "def f"+string(rune('0'+i/10))+string(rune('0'+i%10))+"(x): pass\n")
	}
	return list
}

func checkRefused(t *testing.T, err error, parts []string) {
	t.Helper()
	var fe *jobspec.FailureError
	if !errors.As(err, &fe) || fe.Failure.Kind != jobspec.KindSpec {
		t.Fatalf("Python() = %v, want an E_SPEC failure", err)
	}
	text := fe.Failure.Detail + "\n" + fe.Failure.Hint
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("failure %q lacks %q", text, part)
		}
	}
}

func TestShell(t *testing.T) {
	p := script.Shell("sed -n 1p", false)
	if p.Run.Image != "shell" || !slices.Equal(p.Run.Command, []string{"sh", "-c", "sed -n 1p"}) || p.Run.Per != jobspec.PerItem || p.Run.Feed != jobspec.FeedStdin || p.Files != nil {
		t.Errorf("Shell per item = %+v", p)
	}
	p = script.Shell("ls # x", true)
	if p.Run.Image != "shell" || p.Run.Command[2] != "ls # x" || p.Run.Per != jobspec.PerTask || p.Run.Feed != "" {
		t.Errorf("Shell once = %+v", p)
	}
}
