package api_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
)

// kinds returns every constant of type jobspec.Kind, from its source, so that
// a new kind cannot be forgotten.
func kinds(t *testing.T) []jobspec.Kind {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "../../jobspec/failure.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out []jobspec.Kind
	ast.Inspect(f, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if id, ok := v.Type.(*ast.Ident); ok && id.Name == "Kind" {
			s, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, jobspec.Kind(s))
		}
		return true
	})
	if len(out) < 30 {
		t.Fatalf("found %d kinds only", len(out))
	}
	return out
}

func TestEveryKindHasAStatus(t *testing.T) {
	statuses := api.Statuses()
	for _, k := range kinds(t) {
		s, ok := statuses[k]
		if !ok {
			t.Errorf("kind %s is not in the table of status.go", k)
		}
		if s != api.Status(k) || s < 400 {
			t.Errorf("Status(%s) = %d, table says %d", k, api.Status(k), s)
		}
		delete(statuses, k)
	}
	for k := range statuses {
		t.Errorf("kind %s of the table does not exist", k)
	}
	if got := api.Status("E_NEW"); got != 500 {
		t.Errorf("Status of an unknown kind = %d, want 500", got)
	}
}
