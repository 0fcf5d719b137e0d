package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/wire"
)

// keeps is a node that answers commands about datasets, each request by its
// method and path: an answer, or a failure. What is not there is not found.
type keeps map[string]any

// does runs a command against the node, and returns what it printed, whether it
// ended well, and what it asked for.
func (k keeps) does(t *testing.T, args ...string) (out, said string, ended error, asked []string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.Path)
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
	}))
	defer s.Close()
	var stdout, stderr bytes.Buffer
	root := (&app{in: strings.NewReader(""), out: &stdout, err: &stderr}).root()
	root.SetArgs(append([]string{"--path", t.TempDir(), "--api", s.URL}, args...))
	ended = root.ExecuteContext(t.Context())
	return stdout.String(), stderr.String(), ended, asked
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
			out, said, err, asked := c.node.does(t, c.args...)
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
