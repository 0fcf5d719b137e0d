package arch_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

// files calls f with each file of the repository: those that git has, or where
// this is no clone, all but what is built.
func files(t *testing.T, f func(path string)) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", "-c", "safe.directory=*", "ls-files", "-z")
	cmd.Dir = root
	if list, err := cmd.Output(); err == nil && len(list) > 0 {
		for _, name := range strings.Split(strings.TrimSuffix(string(list), "\x00"), "\x00") {
			if info, err := os.Lstat(filepath.Join(root, name)); err == nil && info.Mode().IsRegular() {
				f(filepath.Join(root, name))
			}
		}
		return
	}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && filepath.Dir(path) == root && (d.Name() == "build" || d.Name() == "bin"):
			return fs.SkipDir
		case d.Type().IsRegular():
			f(path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

var replaces = regexp.MustCompile(`(?m)^\s*(?:replace\s+)?\S.*=>`)

// Nothing is put in the place of a module, and go.sum has the hash of each
// that is asked for; make lint holds what was downloaded against it.
func TestY02NoReplacedModules(t *testing.T) {
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	sum, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	if m := replaces.Find(mod); m != nil {
		t.Errorf("go.mod replaces a module: %s", m)
	}
	required := regexp.MustCompile(`(?m)^(?:require)?\s+(\S+) (v\S+)`).FindAllSubmatch(mod, -1)
	if len(required) < 20 {
		t.Errorf("go.mod requires %d modules, too few to show anything", len(required))
	}
	for _, m := range required {
		if line := fmt.Sprintf("%s %s/go.mod h1:", m[1], m[2]); !bytes.Contains(sum, []byte(line)) {
			t.Errorf("go.sum has no hash of %s %s", m[1], m[2])
		}
	}
	for _, bad := range []string{"replace a.b/c => ../c\n", "replace (\n\ta.b/c v1.0.0 => d.e/f v1.0.1\n)\n"} { // control
		if !replaces.MatchString(bad) {
			t.Errorf("%q is not found", bad)
		}
	}
}

// program says whether a file begins as a program or a library that is built.
func program(b []byte) bool {
	for _, magic := range []string{"\x7fELF", "MZ", "\x00asm", "\xcf\xfa\xed\xfe", "!<arch>\n"} {
		if bytes.HasPrefix(b, []byte(magic)) {
			return true
		}
	}
	return false
}

// There is no program in the repository but as its source.
func TestY04NoBinaries(t *testing.T) {
	looked := 0
	files(t, func(path string) {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		b := make([]byte, 8)
		n, err := io.ReadFull(f, b)
		if err != nil && n == 0 && err != io.EOF {
			t.Fatal(err)
		}
		looked++
		if program(b[:n]) {
			t.Errorf("%s is a program that was built", path)
		}
	})
	if looked < 500 {
		t.Errorf("%d files were looked at, too few to show anything", looked)
	}
	self, err := os.ReadFile("/proc/self/exe") // control
	if err != nil || !program(self) || !program([]byte("\x00asm\x01\x00\x00\x00")) {
		t.Errorf("a program is not seen as one: %v", err)
	}
}

// docker returns the calls in a source that start Docker's command line.
func docker(source []byte) (calls []string, err error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, "", source, 0)
	if err != nil {
		return nil, err
	}
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if s, ok := call.Fun.(*ast.SelectorExpr); !ok || !strings.HasPrefix(s.Sel.Name, "Command") && s.Sel.Name != "LookPath" {
			return true
		}
		for _, arg := range call.Args {
			if lit, ok := arg.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if text, err := strconv.Unquote(lit.Value); err == nil && filepath.Base(text) == "docker" {
					calls = append(calls, set.Position(call.Pos()).String())
				}
			}
		}
		return true
	})
	return calls, nil
}

// The engine is spoken to by its API: what a job is given stands on no command
// line and in no environment of a process that others can look at.
func TestL04NoDockerCommand(t *testing.T) {
	looked := 0
	files(t, func(path string) {
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "/testenv/") {
			return
		}
		source, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		looked++
		calls, err := docker(source)
		if err != nil || len(calls) > 0 {
			t.Errorf("%s starts docker at %v, %v", path, calls, err)
		}
	})
	if looked < 200 {
		t.Errorf("%d sources were looked at, too few to show anything", looked)
	}
	control := "package a\nimport \"os/exec\"\nvar _ = exec.Command(\"docker\", \"run\")\nvar _, _ = exec.LookPath(\"/usr/bin/docker\")\n"
	if calls, err := docker([]byte(control)); err != nil || len(calls) != 2 {
		t.Errorf("control: %v, %v, want both calls", calls, err)
	}
}
