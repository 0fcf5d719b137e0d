package threats

import (
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strconv"
	"strings"
)

var (
	function = regexp.MustCompile(`^(?:Test|Fuzz)((?:[A-Z]\d{2})+)(?:\D|$)`)
	subtest  = regexp.MustCompile(`^([A-Z]\d{2}(?:[ _][A-Z]\d{2})*)(?:[ _#]|$)`)
	each     = regexp.MustCompile(`[A-Z]\d{2}`)
)

// Named returns the ids in the name of a test or subtest as go test prints it:
// "TestQ02Q03Forged", "TestNames/C04_NUL".
func Named(test string) (ids []string) {
	name, rest, _ := strings.Cut(test, "/")
	if m := function.FindStringSubmatch(name); m != nil {
		ids = each.FindAllString(m[1], -1)
	}
	for _, name := range strings.Split(rest, "/") {
		ids = append(ids, leading(name)...)
	}
	return ids
}

// leading returns the ids that the name of a subtest begins with.
func leading(name string) []string {
	if m := subtest.FindStringSubmatch(name); m != nil {
		return each.FindAllString(m[1], -1)
	}
	return nil
}

// Tested returns the ids that tests in a source file are named by: functions,
// and strings that begin with ids where the name of a subtest can stand, which
// is in a call of Run, in a table, or in a variable. A comment does not count,
// nor does what is said in a failure.
func Tested(source string) (ids []string, err error) {
	file, err := parser.ParseFile(token.NewFileSet(), "", source, 0)
	if err != nil {
		return nil, err
	}
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil {
			ids = append(ids, Named(f.Name.Name)...)
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		for _, e := range names(n) {
			ids = append(ids, leading(literal(e))...)
		}
		return true
	})
	return ids, nil
}

// names returns the children of n that may be the name of a subtest.
func names(n ast.Node) []ast.Expr {
	switch n := n.(type) {
	case *ast.CallExpr:
		if s, ok := n.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "Run" && len(n.Args) > 0 {
			return n.Args[:1]
		}
	case *ast.CompositeLit:
		return n.Elts
	case *ast.KeyValueExpr:
		return []ast.Expr{n.Key, n.Value}
	case *ast.AssignStmt:
		return n.Rhs
	case *ast.ValueSpec:
		return n.Values
	}
	return nil
}

// literal returns the text that a string begins with, also one that is put
// together by + or fmt.Sprintf.
func literal(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BinaryExpr:
		return literal(e.X)
	case *ast.CallExpr:
		if s, ok := e.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "Sprintf" {
			return literal(e.Args[0])
		}
	case *ast.BasicLit:
		if text, err := strconv.Unquote(e.Value); err == nil && e.Kind == token.STRING {
			return text
		}
	}
	return ""
}
