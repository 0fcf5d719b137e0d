package failpoint_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/internal/failpoint"
)

// Each place that the sources come to is registered, as far as its name stands
// there; what is put together at run time is checked by Hit.
func TestPlacesAreRegistered(t *testing.T) {
	calls := map[string]bool{}
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		return placesIn(path, calls)
	})
	if err != nil {
		t.Fatal(err)
	}
	all := failpoint.All()
	if len(calls) < 40 || len(slices.Compact(slices.Clone(all))) != len(all) {
		t.Fatalf("%d calls and %d places were found", len(calls), len(all))
	}
	used := map[string]bool{}
	for call := range calls {
		re := regexp.MustCompile("^" + call + "$")
		hits := 0
		for _, name := range all {
			if re.MatchString(name) {
				used[name] = true
				hits++
			}
		}
		if hits == 0 {
			t.Errorf("the sources come to a place %s, which All lacks", call)
		}
	}
	for _, name := range all {
		if !used[name] {
			t.Errorf("nothing in the sources comes to the place %s", name)
		}
	}
}

// placesIn adds the arguments of a file's calls of Hit and of what wraps it, as
// regular expressions.
func placesIn(path string, calls map[string]bool) error {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		return err
	}
	ast.Inspect(file, func(n ast.Node) bool {
		c, ok := n.(*ast.CallExpr)
		if !ok || len(c.Args) != 1 {
			return true
		}
		f, ok := c.Fun.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		of, _ := f.X.(*ast.Ident)
		switch {
		case of != nil && of.Name == "failpoint" && f.Sel.Name == "Hit", f.Sel.Name == "step" && strings.Contains(path, "/schedule/"):
			calls[named(c.Args[0])] = true
		case f.Sel.Name == "hit" && strings.Contains(path, "/domain/"):
			calls[`domain\.`+named(c.Args[0])] = true
		}
		return true
	})
	return nil
}

// named is what is known of a name: literals, and anything where they are not.
func named(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if s, err := strconv.Unquote(e.Value); err == nil {
			return regexp.QuoteMeta(s)
		}
	case *ast.BinaryExpr:
		return named(e.X) + named(e.Y)
	}
	return ".*"
}
