package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/wire"
)

// keeps is a node that answers commands about datasets, each request by its
// method and path: an answer, or a failure. What is not there is not found.
type keeps map[string]any

func (k keeps) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "application/json")
	v, ok := k[r.Method+" "+r.URL.Path]
	f, bad := v.(jobspec.Failure)
	if !ok {
		f, bad = jobspec.Failure{Kind: jobspec.KindNotFound}, true
	}
	if bad {
		w.WriteHeader(api.Status(f.Kind))
		v = wire.Problem{Status: api.Status(f.Kind), Kind: f.Kind, Detail: f.Detail, Hint: f.Hint}
	}
	_ = json.NewEncoder(w).Encode(v)
}

// does runs a command against the node, and returns what it printed, what
// it asked for, and whether it ended well.
func (k keeps) does(t *testing.T, args ...string) (out, said string, asked []string, ended error) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.Path)
		k.ServeHTTP(w, r)
	}))
	defer s.Close()
	var stdout, stderr bytes.Buffer
	root := (&app{in: strings.NewReader(""), out: &stdout, err: &stderr}).root()
	root.SetArgs(append([]string{"--path", t.TempDir(), "--api", s.URL}, args...))
	ended = root.ExecuteContext(t.Context())
	return stdout.String(), stderr.String(), asked, ended
}

// What a new dataset or version is refused for is known before anything is
// sent where it can be; else what was sent does not stay pinned. Where it stays all
// the same, the command has done its work, and says so.
func TestDatasetFromAFolder(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/a.csv", []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	packed, err := (&app{out: io.Discard, err: io.Discard}).hash(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	const sends, makes = "POST /v1/dag", "POST /v1/datasets"
	unpins := "DELETE /v1/pins/" + packed.CID.String()
	made := wire.Dataset{Name: "photos", Mine: true, DatasetVersion: wire.DatasetVersion{Version: 1, Root: packed.CID}}
	refused := jobspec.Failure{Kind: jobspec.KindConflict, Detail: "made meanwhile"}
	full := jobspec.Failure{Kind: jobspec.KindInternal, Detail: "the disk is full"}
	node := func(more keeps) keeps {
		k := keeps{"GET /v1/pins": wire.PinList{}, sends: wire.Added{CID: packed.CID}, unpins: struct{}{}, makes: made, makes + "/photos/append": made}
		for key, v := range more {
			k[key] = v
		}
		return k
	}
	create := []string{"dataset", "create", "photos", "--from", dir}
	for name, c := range map[string]struct {
		node        keeps
		args        []string
		want, never []string
		ok          bool
		said        string
	}{
		"made":          {node(nil), create, []string{sends, makes, unpins}, nil, true, ""},
		"name":          {node(nil), []string{"dataset", "create", "Photos", "--from", dir}, nil, []string{sends, makes}, false, ""},
		"keep":          {node(nil), append(slices.Clone(create), "--keep", "-1"), nil, []string{sends, makes}, false, ""},
		"there already": {node(keeps{"GET /v1/datasets/photos": made}), create, nil, []string{sends, makes}, false, ""},
		"a liar":        {node(keeps{"GET /v1/datasets/photos": jobspec.Failure{Kind: jobspec.KindSignature}}), create, []string{sends, makes, unpins}, nil, true, ""},
		"refused":       {node(keeps{makes: refused}), create, []string{sends, unpins}, nil, false, ""},
		"pinned before": {node(keeps{"GET /v1/pins": wire.PinList{Pins: []wire.Pin{{CID: packed.CID}}}, makes: refused}), create, []string{sends}, []string{unpins}, false, ""},
		"stays pinned":  {node(keeps{unpins: full}), create, []string{sends, makes}, nil, true, "ipdc pin rm " + packed.CID.String()},
		"append":        {node(keeps{unpins: full}), []string{"dataset", "append", "photos", dir}, []string{sends}, nil, true, "ipdc pin rm " + packed.CID.String()},
		"no append":     {node(keeps{makes + "/photos/append": refused}), []string{"dataset", "append", "photos", dir}, []string{sends, unpins}, nil, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			out, said, asked, err := c.node.does(t, c.args...)
			if (err == nil) != c.ok || c.ok != strings.HasPrefix(out, "photos@1 ") || !strings.Contains(said, c.said) {
				t.Errorf("it ends with %v, prints %q and says %q, want success %v and %q", err, out, said, c.ok, c.said)
			}
			for _, w := range c.want {
				if !slices.Contains(asked, w) {
					t.Errorf("it asked for %q, not for %s", asked, w)
				}
			}
			for _, n := range c.never {
				if slices.Contains(asked, n) {
					t.Errorf("it asked for %q", asked)
				}
			}
		})
	}
}

// A list that can be one of a dataset is so where none is here; a mistyped path is
// told of as both, and what is both is refused.
func TestListOfADataset(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := errors.Join(os.Mkdir("data", 0o700), os.WriteFile("data/list.txt", []byte("here\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	root, err := (&app{out: io.Discard, err: io.Discard}).hash(t.Context(), "data/list.txt")
	if err != nil {
		t.Fatal(err)
	}
	has := keeps{"GET /v1/resolve": wire.Resolved{CID: root.CID}, "GET /v1/dag/" + root.CID.String(): "stored"}
	for name, c := range map[string]struct {
		node keeps
		arg  string
		want string // the first line, or a part of the refusal
		kind jobspec.Kind
	}{
		"here":        {nil, "data/list.txt", "here", ""},
		"in both":     {has, "data/list.txt", "dataset:data/list.txt or ./data/list.txt", jobspec.KindConflict},
		"this one":    {has, "./data/list.txt", "here", ""},
		"that one":    {has, "dataset:data/list.txt", `"stored"`, ""},
		"stored only": {has, "data/day1", `"stored"`, ""},
		"mistyped":    {nil, "data/lits.txt", "neither a file here (lstat data/lits.txt: no such file or directory) nor one of a dataset", jobspec.KindNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(c.node)
			defer s.Close()
			a := &app{set: settings{API: s.URL}, out: io.Discard, err: io.Discard}
			lines, err := a.readList(t.Context(), c.arg, false)
			if c.kind != "" {
				f := jobspec.AsFailure(err)
				if err == nil || f.Kind != c.kind || !strings.Contains(f.Detail+f.Hint, c.want) {
					t.Errorf("readList(%s) = %v, %v, want %s with %q", c.arg, lines, err, c.kind, c.want)
				}
				return
			}
			if err != nil || len(lines) != 1 || strings.TrimSpace(string(lines[0].Content())) != c.want {
				t.Errorf("readList(%s) = %q, %v, want the line %s", c.arg, lines, err, c.want)
			}
		})
	}
}

// The runs over a dataset are listed when it is there no more, by whose it was. A
// name that nothing is known of is refused.
func TestRunsOfARemovedDataset(t *testing.T) {
	run := func(id, owner string) wire.Job {
		return wire.Job{Job: jobspec.Job{ID: jobspec.JobID(id), Dataset: &jobspec.DatasetUse{Name: "logs", Version: 3, Owner: owner}}}
	}
	a, b := newOwner(t), newOwner(t)
	jobs := keeps{"GET /v1/jobs": wire.JobList{Jobs: []wire.Job{run("01new", a.String()), run("01old", b.String())}}}
	out, _, _, err := jobs.does(t, "dataset", "runs", "logs")
	for _, want := range []string{"01new", a.Short(), "01old", b.Short()} {
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("dataset runs does not show %s: %v\n%s", want, err, out)
		}
	}
	none := keeps{"GET /v1/jobs": wire.JobList{}}
	if out, _, _, err := none.does(t, "dataset", "runs", "lgos"); !errors.Is(err, jobspec.KindNotFound.Error()) {
		t.Errorf("runs of what was never there: %v, want E_NOT_FOUND\n%s", err, out)
	}
}

func newOwner(t *testing.T) identity.ID {
	t.Helper()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return key.ID()
}
