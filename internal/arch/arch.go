// Package arch holds which package may import which: the layer table of
// docs/architecture.md as data, and the check over it. Its test runs the check
// over the module, so that a wrong import fails the build of a change.
//
//	var graph arch.Graph // import path below the module -> what it imports
//	for _, v := range arch.Check(graph) {
//		t.Error(v) // "sidecar imports executor/docker: ..."
//	}
//
// Invariants: a package that no rule names is a violation, so that a new one
// gets its place on purpose; test files are exempt.
package arch

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Module is the path of this module.
const Module = "github.com/ipdc/ipdc"

// Graph maps a package to its imports. Packages of this module are written
// without its path: "sidecar/api".
type Graph map[string][]string

// rule says what some packages may import of ours. A name that ends in "/*"
// stands for everything below it.
type rule struct {
	packages []string
	may      []string
	stdOnly  bool // nothing of other modules either
}

var (
	layer0    = []string{"identity", "jobspec", "wire", "wire/guest"}
	contracts = []string{"ipfs", "bus", "store", "images", "executor", "delivery"}
	tools     = []string{"ipfs/tree", "ipfs/stage", "ipfs/pack", "ipfs/merge", "ipfs/split", "ipfs/car"}
	internal  = []string{"internal/*"}
	all       = []string{"*"}
)

// table is read from top to bottom; the first rule that names a package holds.
var table = []rule{
	// 0: the words everybody speaks.
	{packages: []string{"identity"}, may: []string{"internal/durable"}},
	{packages: []string{"jobspec"}, may: []string{"identity"}},
	{packages: []string{"wire"}, may: []string{"jobspec", "identity"}},
	{packages: []string{"wire/guest"}, stdOnly: true},
	// The inside of a container stays small.
	{packages: []string{"internal/taskrun"}, may: []string{"wire/guest"}, stdOnly: true},
	{packages: []string{"internal/shuffle"}, stdOnly: true},
	{packages: internal, may: slices.Concat(layer0, internal)},

	// 1: contracts, their suites, the tools over ipfs, and adapters.
	{packages: contracts, may: slices.Concat(layer0, internal)},
	{packages: []string{"bus/mqtt", "bus/mqtt/*"}, may: slices.Concat([]string{"bus", "bus/mqtt/internal/*"}, layer0, internal)},
	{packages: []string{"bus/*"}, may: slices.Concat([]string{"bus"}, layer0, internal)},
	{packages: []string{"executor/*"}, may: slices.Concat([]string{"executor"}, layer0, internal)},
	{packages: []string{"delivery/*"}, may: slices.Concat([]string{"delivery"}, layer0, internal)},
	{packages: []string{"images/*"}, may: slices.Concat([]string{"images"}, layer0, internal)},
	{packages: []string{"ipfs/internal/*", "ipfs/ipfstest"}, may: slices.Concat([]string{"ipfs", "ipfs/internal/*", "ipfs/ipfstest"}, layer0, internal)},
	{packages: tools, may: slices.Concat([]string{"ipfs", "ipfs/internal/*"}, tools, layer0, internal)},
	{packages: []string{"ipfs/kubo/*"}, may: slices.Concat(layer0, internal)},
	{packages: []string{"ipfs/embedded", "ipfs/kubo", "ipfs/gateway", "ipfs/swap", "ipfs/attach"}, may: slices.Concat([]string{"ipfs", "ipfs/internal/*"}, tools, layer0, internal)},

	// 2: the daemon knows contracts, never an adapter; the client knows bodies.
	{packages: []string{"sidecar/fleet"}, may: []string{"bus", "wire", "jobspec", "identity"}},
	{packages: []string{"sidecar", "sidecar/*"}, may: slices.Concat(contracts, tools, []string{"sidecar/*"}, layer0, internal)},
	{packages: []string{"quorum"}, may: []string{"bus", "wire", "jobspec", "identity", "internal/durable"}},
	{packages: []string{"domain"}, may: slices.Concat(contracts, layer0, internal)},
	{packages: []string{"client"}, may: layer0},

	// 3: workloads are users of the API.
	{packages: []string{"workload/script"}, may: layer0},
	{packages: []string{"workload/function", "workload/cl", "workload/mapreduce"}, may: slices.Concat(layer0, []string{"workload/script"}, internal)},
	{packages: []string{"workload/*"}, may: slices.Concat(layer0, []string{"client"}, internal)},

	// 5: programs. The guest is mounted into every container and stays small.
	{packages: []string{"cmd/ipdc-guest"}, may: []string{"wire/guest", "internal/taskrun", "internal/shuffle", "internal/pace"}},
	{packages: []string{"cmd/*"}, may: all},

	// What users write, and tests of whole programs.
	{packages: []string{"examples/workload/*"}, may: []string{"client", "jobspec"}, stdOnly: true},
	{packages: []string{"examples/*"}, stdOnly: true},
	{packages: []string{"e2e"}},
}

// homes says where a heavy library may be imported.
var homes = []struct {
	library string // an import path or the beginning of one
	in      []string
}{
	{"github.com/ipfs/boxo", []string{"ipfs/*"}},
	{"github.com/moby/", []string{"executor/docker", "images/docker"}},
	{"github.com/google/go-containerregistry", []string{"images/docker"}},
	{"github.com/docker/", nil}, // its client lives on as github.com/moby/moby/client
	{"github.com/tetratelabs/wazero", []string{"executor/wasm"}},
	{"github.com/danielgtaylor/huma", []string{"sidecar/api"}},
	{"modernc.org/sqlite", []string{"store", "ipfs/internal/pindb"}},
	{"github.com/libp2p/", []string{"internal/p2phost", "ipfs/swap", "bus/p2p"}},
	{"go.uber.org/fx", []string{"internal/p2phost"}},
	{"github.com/eclipse/paho", []string{"bus/mqtt"}},
	{"github.com/mochi-mqtt/", []string{"bus/mqtt/broker"}},
	{"github.com/hashicorp/", []string{"quorum"}},
	{"github.com/hanwen/go-fuse", []string{"internal/faultfs"}},
	{"github.com/netresearch/go-cron", []string{"sidecar/schedule"}},
	{"github.com/minio/", []string{"delivery/s3"}},
	{"github.com/spf13/", []string{"cmd/ipdc"}},
	{"github.com/prometheus/procfs", []string{"internal/hostload"}},
	{"github.com/prometheus/client_golang", []string{"sidecar", "sidecar/*", "cmd/ipdc"}},
	{"github.com/vbauerster/mpb", []string{"cmd/ipdc"}},
}

// Check returns everything in g that the table does not allow, in order.
func Check(g Graph) []string {
	var violations []string
	for _, pkg := range slices.Sorted(maps.Keys(g)) {
		r, ok := ruleOf(pkg)
		if !ok {
			violations = append(violations, pkg+" is in no layer: give it a rule in internal/arch and a row in docs/architecture.md")
			continue
		}
		for _, imported := range g[pkg] {
			if why := r.refuses(g, pkg, imported); why != "" {
				violations = append(violations, fmt.Sprintf("%s imports %s: %s", pkg, imported, why))
			}
		}
	}
	return violations
}

func ruleOf(pkg string) (rule, bool) {
	for _, r := range table {
		if matches(r.packages, pkg) {
			return r, true
		}
	}
	return rule{}, false
}

// refuses says why pkg may not import imported, or "".
func (r rule) refuses(g Graph, pkg, imported string) string {
	if _, ours := g[imported]; ours {
		switch {
		case matches([]string{"cmd/*"}, imported):
			return "nobody imports a program"
		case !matches(r.may, imported):
			return "its layer may import " + orNothing(r.may) + " of ours"
		}
		return ""
	}
	if r.stdOnly && strings.Contains(strings.Split(imported, "/")[0], ".") {
		return "it may import the standard library only"
	}
	for _, h := range homes {
		if strings.HasPrefix(imported, h.library) && !matches(h.in, pkg) {
			return "the home of " + h.library + " is " + orNothing(h.in)
		}
	}
	return ""
}

func orNothing(list []string) string {
	if len(list) == 0 {
		return "nothing"
	}
	return strings.Join(list, ", ")
}

func matches(patterns []string, pkg string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		if parent, ok := strings.CutSuffix(p, "*"); ok {
			return strings.HasPrefix(pkg, parent)
		}
		return p == pkg
	})
}
