package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
)

//go:generate go test -run ^TestErrorsDoc$ -update .

const errorsDoc = "../../docs/errors.md"

// refusals says, for every kind, what a user does about it and which test
// produces it: package directory and function, which has to name the kind.
var refusals = map[jobspec.Kind]struct{ do, test string }{
	jobspec.KindSpec:         {"mend what each problem names; docs/jobspec.md has every field with its range", "jobspec.TestAllProblemsAtOnce"},
	jobspec.KindDupKey:       {"use a new idempotency key for a new spec; name each key of a spec once", "sidecar.TestIdempotencyKey"},
	jobspec.KindPolicy:       {"ask for less, use a larger node, or ask who runs this one to change its settings (`ipdc config show`)", "sidecar.TestTooLargeIsRefused"},
	jobspec.KindNotFound:     {"`ipdc job list`, `ipdc ls CID`: look what is there", "sidecar.TestInputPath"},
	jobspec.KindConflict:     {"do first what the hint says, such as stopping the job or typing more of its id", "sidecar.TestStop"},
	jobspec.KindLimit:        {"come again later, or after `Retry-After` seconds; or raise the limit that is named", "sidecar/api.TestH22RateLimit"},
	jobspec.KindLimitBytes:   {"split the data, or raise the limit that is named", "ipfs/tree.TestHostileBombs"},
	jobspec.KindLimitEntries: {"split the directory, or raise the limit that is named", "ipfs/tree.TestHostileBombs"},
	jobspec.KindDepth:        {"flatten the tree", "ipfs/tree.TestHostileDepth"},
	jobspec.KindName:         {"rename the file: no `/`, no control characters, not `.` or `..`", "ipfs/tree.TestHostileNames"},
	jobspec.KindDupName:      {"give each output a name of its own, or use `--merge shards`", "ipfs/merge.TestUnionClashes"},
	jobspec.KindSymlink:      {"copy what the link points to; links inside the tree are kept", "ipfs/pack.TestHostileOutputs"},
	jobspec.KindSizeMismatch: {"the data is damaged or lies about itself: add it anew from its source", "ipfs/tree.TestHostileNodes"},
	jobspec.KindUnixFS:       {"it is no file or directory: give it with `--as car`, or add it anew", "ipfs/tree.TestHostileNodes"},
	jobspec.KindHAMT:         {"the directory is damaged: add it anew from its source", "ipfs/tree.TestHostileHAMT"},
	jobspec.KindCodec:        {"it is no file or directory: give it with `--as car`", "ipfs/tree.TestHostileNodes"},
	jobspec.KindCIDHash:      {"add the data anew with sha2-256", "ipfs/tree.TestHostileHashes"},
	jobspec.KindBlockHash:    {"the data was changed on its way or on disk: send or add it again; of a receipt, trust nothing of it", "ipfs/car.TestReadHostile"},
	jobspec.KindCARRoots:     {"use a CAR with one root that is in it, or `ipdc import`", "ipfs/car.TestReadHostile"},
	jobspec.KindCARFormat:    {"make the CAR again; `ipdc export` and `ipfs dag export` write good ones", "ipfs/car.TestReadHostile"},
	jobspec.KindFetchTimeout: {"`ipdc add` or `ipdc import` the data first, or allow a gateway", "e2e.TestFailureKinds"},
	jobspec.KindImageRef:     {"`ipdc image list`: look which images there are; build or pull it", "e2e.TestFailureKinds"},
	jobspec.KindImageRun:     {"look at the engine's words: the command is missing in the image, or it is for another architecture", "e2e.TestFailureKinds"},
	jobspec.KindImageGone:    {"build or pull the image again and `ipdc job rerun`", "sidecar.TestFailures"},
	jobspec.KindPullStall:    {"try again later, or load the image by hand", "images/docker.TestPullFromHostileRegistry"},
	jobspec.KindOutputType:   {"write files, directories and links inside `/outputs` only", "e2e.TestFailureKinds"},
	jobspec.KindNoOutput:     {"write an output for each item, or return None for none", "sidecar.TestJudge"},
	jobspec.KindQuota:        {"raise `--disk`; when the node's disk is full: `ipdc job prune`, `ipdc node gc`", "e2e.TestFailureKinds"},
	jobspec.KindSignature:    {"do not trust the receipt; ask its worker for it again", "jobspec.TestReceiptTamper"},
	jobspec.KindInternal:     {"look for the id in the node's log (`instance`), and report it", "sidecar/api.TestH19InternalErrors"},
	jobspec.KindExit:         {"`ipdc job logs`: the program says why", "e2e.TestProgramFails"},
	jobspec.KindSignal:       {"`ipdc job logs`; 139 is a program's own fault, 137 often memory", "sidecar.TestFailures"},
	jobspec.KindOOM:          {"raise `--memory`, or read the input in pieces", "sidecar.TestFailures"},
	jobspec.KindTimeout:      {"raise `--timeout` or `--total-timeout`", "sidecar.TestFailures"},
	jobspec.KindLost:         {"`ipdc job rerun`; the node tried again as often as `retry` says", "sidecar.TestRetriesLost"},
	jobspec.KindStopped:      {"`ipdc job rerun` when it was a mistake", "sidecar.TestStop"},
}

const errorsHead = `# Refusals and ends

Made by ` + "`make generate`" + ` from the source; do not edit. Every refusal of the API and every bad end of a job has a *kind*, which is stable and
meant for programs: ` + "`kind`" + ` in application/problem+json, ` + "`failure.kind`" + ` in a job's record, the first word that ` + "`ipdc`" + ` prints. The detail
beside it has the numbers, the hint what to do.

Status is HTTP's. Exit code is ` + "`ipdc`" + `'s for a request that is refused, and for a job that ended so. The last column names a test
in which it comes up.

| kind | meaning | status | exit code: request, job | what to do | test |
|---|---|---|---|---|---|
`

// docs/errors.md has every kind with what becomes of it.
func TestErrorsDoc(t *testing.T) {
	var b bytes.Buffer
	fmt.Fprint(&b, errorsHead)
	for _, k := range kinds(t) {
		r, ok := refusals[k.kind]
		if !ok {
			t.Errorf("%s has no row in refusals", k.kind)
		}
		request, known := exitByKind[k.kind]
		if !known {
			request = exitError
		}
		job := strconv.Itoa(jobError{jobspec.Failure{Kind: k.kind}}.code())
		if k.kind == jobspec.KindImageRun {
			job = "125, 126, 127"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %d | %d, %s | %s | %s |\n", k.kind, k.meaning, api.Status(k.kind), request, job, r.do, r.test)
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

// The test that produces a kind is there and names it.
func TestRefusalsAreTested(t *testing.T) {
	for _, k := range kinds(t) {
		test := refusals[k.kind].test
		dir, name, _ := strings.Cut(test, ".")
		source := testSource(t, dir, name)
		switch {
		case source == "":
			t.Errorf("%s: there is no test %s", k.kind, test)
		case !names(source, k):
			t.Errorf("%s: the test %s does not name it", k.kind, test)
		}
	}
	// Control: a test that is there but does not name a kind is noticed.
	if src := testSource(t, "jobspec", "TestReceiptTamper"); src == "" || names(src, kind{name: "KindOOM", kind: jobspec.KindOOM}) {
		t.Error("control: TestReceiptTamper is not found, or names oom")
	}
}

// names reports whether a test's source has the constant, or the text of a
// refusal.
func names(source string, k kind) bool {
	text := strings.HasPrefix(string(k.kind), "E_") && strings.Contains(source, string(k.kind))
	return text || regexp.MustCompile(`\b`+k.name+`\b`).MatchString(source)
}

// testSource returns the text of a test function, or "".
func testSource(t *testing.T, dir, name string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("../..", dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, file, b, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == name {
				return string(b[fset.Position(fn.Pos()).Offset:fset.Position(fn.End()).Offset])
			}
		}
	}
	return ""
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
