package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
)

//go:generate go test -run ^TestErrorsDoc$ -update .

const errorsDoc = "../../docs/errors.md"

// todo says, for every kind, what a user does about it.
var todo = map[jobspec.Kind]string{
	jobspec.KindSpec:         "mend what each problem names; docs/jobspec.md has every field with its range",
	jobspec.KindDupKey:       "use a new idempotency key for a new spec; name each key of a spec once",
	jobspec.KindPolicy:       "ask for less, use a larger node, or ask who runs this one to change its settings (`ipdc config show`)",
	jobspec.KindNotFound:     "`ipdc job list`, `ipdc ls CID`: look what is there",
	jobspec.KindConflict:     "do first what the hint says, such as stopping the job or typing more of its id",
	jobspec.KindPNet:         "do what the hint says: ask for an invitation (`ipdc domain invite`), or restore the domain's files",
	jobspec.KindLeaseLost:    "nothing: the owner of the job has given the task to another node; a job goes on at the node that is named",
	jobspec.KindClock:        "set the clock of the member that is named, and of this one (`timedatectl set-ntp true`); `ipdc doctor` shows how far this one is off",
	jobspec.KindNoQuorum:     "start the keepers that are named, or `ipdc domain revoke` those that never come back; then submit again",
	jobspec.KindLimit:        "come again later, or after `Retry-After` seconds; or raise the limit that is named",
	jobspec.KindLimitBytes:   "split the data, or raise the limit that is named",
	jobspec.KindLimitEntries: "split the directory, or raise the limit that is named",
	jobspec.KindDepth:        "flatten the tree",
	jobspec.KindName:         "rename the file: no `/`, no control characters, not `.` or `..`",
	jobspec.KindDupName:      "give each output a name of its own, or use `--merge shards`",
	jobspec.KindSymlink:      "copy what the link points to; links inside the tree are kept",
	jobspec.KindSizeMismatch: "the data is damaged or lies about itself: add it anew from its source",
	jobspec.KindUnixFS:       "it is no file or directory: give it with `--as car`, or add it anew",
	jobspec.KindHAMT:         "the directory is damaged: add it anew from its source",
	jobspec.KindCodec:        "it is no file or directory: give it with `--as car`",
	jobspec.KindCIDHash:      "add the data anew with sha2-256",
	jobspec.KindBlockHash:    "the data was changed on its way or on disk: send or add it again; of a receipt, trust nothing of it",
	jobspec.KindCARRoots:     "use a CAR with one root that is in it, or `ipdc import`",
	jobspec.KindCARFormat:    "make the CAR again; `ipdc export` and `ipfs dag export` write good ones",
	jobspec.KindFetchTimeout: "`ipdc add` or `ipdc import` the data first, or allow a gateway",
	jobspec.KindImageRef:     "`ipdc image list`: look which images there are; build or pull it",
	jobspec.KindImageRun:     "look at the engine's words: the command is missing in the image, or it is for another architecture",
	jobspec.KindImageGone:    "build or pull the image again and `ipdc job rerun`",
	jobspec.KindPullStall:    "try again later, or load the image by hand",
	jobspec.KindOutputType:   "write files, directories and links inside `/outputs` only",
	jobspec.KindNoOutput:     "write an output for each item, or return None for none",
	jobspec.KindQuota:        "raise `--disk`; when the node's disk is full: `ipdc job prune`, `ipdc node gc`",
	jobspec.KindSignature:    "do not trust the receipt; ask its worker for it again",
	jobspec.KindInternal:     "look for the id in the node's log (`instance`), and report it",
	jobspec.KindExit:         "`ipdc job logs`: the program says why",
	jobspec.KindSignal:       "`ipdc job logs`; 139 is a program's own fault, 137 often memory",
	jobspec.KindOOM:          "raise `--memory`, or read the input in pieces",
	jobspec.KindTimeout:      "raise `--timeout` or `--total-timeout`",
	jobspec.KindLost:         "`ipdc job rerun`; the node tried again as often as `retry` says; of a request: the member that has the job is away, ask again later, or give the job up: `ipdc job rm --force`",
	jobspec.KindStopped:      "`ipdc job rerun` when it was a mistake",
}

const errorsHead = `# Refusals and ends

Made by ` + "`make generate`" + ` from the source; do not edit. Every refusal of the API and every bad end of a job has a *kind*, which is stable and
meant for programs: ` + "`kind`" + ` in application/problem+json, ` + "`failure.kind`" + ` in a job's record, the first word that ` + "`ipdc`" + ` prints. The detail
beside it has the numbers, the hint what to do.

Status is HTTP's. Exit code is ` + "`ipdc`" + `'s for a request that is refused, and for a job that ended so. The last column names the
tests that promise to produce it, and fail when it does not come up in them.

| kind | meaning | status | exit code: request, job | what to do | test |
|---|---|---|---|---|---|
`

// docs/errors.md has every kind with what becomes of it.
func TestErrorsDoc(t *testing.T) {
	var b bytes.Buffer
	fmt.Fprint(&b, errorsHead)
	promises := promises(t)
	for _, k := range kinds(t) {
		if todo[k.kind] == "" {
			t.Errorf("%s: nothing in todo says what to do", k.kind)
		}
		if len(promises[k.name]) == 0 {
			t.Errorf("%s: no test promises it by refusal.Produces", k.kind)
		}
		request, known := exitByKind[k.kind]
		if !known {
			request = exitError
		}
		job := strconv.Itoa(jobError{jobspec.Failure{Kind: k.kind}}.code())
		if k.kind == jobspec.KindImageRun {
			job = "125, 126, 127"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %d | %d, %s | %s | %s |\n", k.kind, k.meaning, api.Status(k.kind), request, job, todo[k.kind], strings.Join(promises[k.name], ", "))
	}
	if *update {
		if err := os.WriteFile(errorsDoc, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(errorsDoc)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("docs/errors.md is out of date, run make generate (-file +source):\n%s", diff)
	}
}

// kind is one constant of type jobspec.Kind with its comment.
type kind struct {
	name    string
	kind    jobspec.Kind
	meaning string
}

func kinds(t *testing.T) (list []kind) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "../../jobspec/failure.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if id, ok := v.Type.(*ast.Ident); !ok || id.Name != "Kind" {
			return true
		}
		value, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, kind{v.Names[0].Name, jobspec.Kind(value), strings.TrimSpace(v.Comment.Text())})
		return true
	})
	if len(list) < 30 {
		t.Fatalf("found %d kinds only", len(list))
	}
	return list
}

// promises returns which tests of the module promise each constant, by the
// calls of refusal.Produces with which they begin.
func promises(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "build" || d.Name() == ".git"):
			return filepath.SkipDir
		case !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel("../..", filepath.Dir(path))
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok {
				for _, name := range promised(fn) {
					found[name] = append(found[name], filepath.ToSlash(dir)+"."+fn.Name.Name)
				}
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// promised returns the constants in a test's first statement, if that is
// refusal.Produces(t, jobspec.KindX, ...).
func promised(fn *ast.FuncDecl) (names []string) {
	if fn.Recv != nil || !strings.HasPrefix(fn.Name.Name, "Test") || fn.Body == nil || len(fn.Body.List) == 0 {
		return nil
	}
	call, ok := fn.Body.List[0].(*ast.ExprStmt)
	if !ok {
		return nil
	}
	produces, ok := call.X.(*ast.CallExpr)
	if !ok || selector(produces.Fun) != "refusal.Produces" {
		return nil
	}
	for _, arg := range produces.Args[1:] {
		if name, ok := strings.CutPrefix(selector(arg), "jobspec."); ok {
			names = append(names, name)
		}
	}
	return names
}

// selector returns "a.b" for that expression, and "" for others.
func selector(e ast.Expr) string {
	if s, ok := e.(*ast.SelectorExpr); ok {
		if x, ok := s.X.(*ast.Ident); ok {
			return x.Name + "." + s.Sel.Name
		}
	}
	return ""
}

// A promise counts only as a test's first statement, with the constants' names.
func TestPromised(t *testing.T) {
	for _, c := range []struct{ body, want string }{
		{"func TestA(t *testing.T) { refusal.Produces(t, jobspec.KindA, jobspec.KindB); run(t) }", "KindA KindB"},
		{"func TestA(t *testing.T) { run(t); refusal.Produces(t, jobspec.KindA) }", ""},
		{"func TestA(t *testing.T) { if ok { refusal.Produces(t, jobspec.KindA) } }", ""},
		{"func TestA(t *testing.T) { refusal.Is(t, err, jobspec.KindA) }", ""},
		{"func TestA(t *testing.T) { refusal.Produces(t, kinds...) }", ""},
		{"func helper(t *testing.T) { refusal.Produces(t, jobspec.KindA) }", ""},
		{"func TestA(t *testing.T) {}", ""},
	} {
		f, err := parser.ParseFile(token.NewFileSet(), "a_test.go", "package a\n"+c.body, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(promised(f.Decls[0].(*ast.FuncDecl)), " "); got != c.want {
			t.Errorf("promised(%s) = %q, want %q", c.body, got, c.want)
		}
	}
}
