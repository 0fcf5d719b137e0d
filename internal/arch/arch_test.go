package arch_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/internal/arch"
)

func TestModule(t *testing.T) {
	graph := readModule(t)
	// With an empty graph nothing could be wrong.
	for _, pkg := range []string{"identity", "jobspec", "sidecar", "cmd/ipdc"} {
		if len(graph[pkg]) == 0 {
			t.Fatalf("go list shows no imports of %s", pkg)
		}
	}
	for _, violation := range arch.Check(graph) {
		t.Error(violation)
	}
}

// readModule asks the go command for the imports of every package. Packages
// that do not compile are listed too: whether they do is not asked here.
func readModule(t *testing.T) arch.Graph {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Imports", "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", cmd, err)
	}
	graph := arch.Graph{}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return graph
		} else if err != nil {
			t.Fatal(err)
		}
		imports := make([]string, len(p.Imports))
		for i, imported := range p.Imports {
			imports[i] = strings.TrimPrefix(imported, arch.Module+"/")
		}
		graph[strings.TrimPrefix(p.ImportPath, arch.Module+"/")] = imports
	}
}

// Each wrong import is found, and each right one beside it is not.
func TestCheckFinds(t *testing.T) {
	ours := strings.Fields("identity jobspec wire wire/guest ipfs store images executor ipfs/tree ipfs/pack ipfs/embedded executor/docker " +
		"images/docker sidecar sidecar/api client workload/script workload/crawl cmd/ipdc cmd/ipdc-guest internal/testenv e2e")
	for _, tt := range []struct {
		pkg      string
		right    string
		imported string // wrong
		says     string
	}{
		{"identity", "crypto/ed25519", "jobspec", "may import internal/durable"},
		{"jobspec", "identity", "wire", "may import identity"},
		{"wire", "jobspec", "ipfs", "may import jobspec"},
		{"wire/guest", "encoding/json", "jobspec", "nothing of ours"},
		{"wire/guest", "io/fs", "github.com/x/y", "standard library only"},
		{"ipfs", "jobspec", "store", "may import"},
		{"executor", "internal/testenv", "executor/docker", "may import"},
		{"executor/docker", "executor", "images", "may import"},
		{"executor/docker", "github.com/moby/moby/client", "github.com/docker/docker/client", "home"},
		{"ipfs/tree", "github.com/ipfs/boxo/ipld/unixfs", "ipfs/embedded", "may import"},
		{"sidecar", "ipfs/pack", "ipfs/embedded", "may import"},
		{"sidecar", "executor", "executor/docker", "may import"},
		{"sidecar", "sidecar/api", "client", "may import"},
		{"sidecar", "golang.org/x/sync/errgroup", "github.com/ipfs/boxo/ipld/unixfs", "home of github.com/ipfs/boxo"},
		{"sidecar/api", "github.com/danielgtaylor/huma/v2", "github.com/moby/moby/api/types", "home of github.com/moby"},
		{"sidecar", "store", "github.com/danielgtaylor/huma/v2", "home of github.com/danielgtaylor/huma is sidecar/api"},
		{"client", "wire", "sidecar/api", "may import"},
		{"client", "wire", "modernc.org/sqlite", "home"},
		{"workload/script", "jobspec", "client", "may import"},
		{"workload/crawl", "client", "sidecar", "may import"},
		{"client", "jobspec", "cmd/ipdc", "nobody imports a program"},
		{"cmd/ipdc", "executor/docker", "cmd/ipdc-guest", "nobody imports a program"},
		{"cmd/ipdc", "github.com/spf13/cobra", "github.com/libp2p/go-libp2p", "home"},
		{"cmd/ipdc-guest", "wire/guest", "jobspec", "may import wire/guest"},
		{"cmd/ipdc-guest", "os", "github.com/spf13/cobra", "home"},
		{"e2e", "testing", "client", "nothing of ours"},
	} {
		graph := arch.Graph{}
		for _, pkg := range ours {
			graph[pkg] = nil
		}
		graph[tt.pkg] = []string{tt.right, tt.imported}
		got := arch.Check(graph)
		if len(got) != 1 || !strings.HasPrefix(got[0], tt.pkg+" imports "+tt.imported+": ") || !strings.Contains(got[0], tt.says) {
			t.Errorf("%s with %s and %s: Check = %q, want the second one only, with %q", tt.pkg, tt.right, tt.imported, got, tt.says)
		}
	}
}

func TestCheckFindsUnknownPackage(t *testing.T) {
	got := arch.Check(arch.Graph{"util": nil, "jobspec": nil})
	want := []string{"util is in no layer: give it a rule in internal/arch and a row in docs/architecture.md"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Check (-want +got):\n%s", diff)
	}
}
