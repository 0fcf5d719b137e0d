package docker

import (
	"context"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/system"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/jobspec"
)

// sharing are the programs of OCI runtimes whose containers have the host's
// kernel, whatever name an administrator gave them.
var sharing = []string{"runc", "crun", "youki", "nvidia-container-runtime"}

// strictRuntime returns name when the engine has an OCI runtime of that name
// which may have a kernel of its own, else "".
func strictRuntime(si system.Info, name string) string {
	rt, ok := si.Runtimes[name]
	if !ok || slices.Contains(sharing, name) || slices.Contains(sharing, path.Base(rt.Path)) {
		return ""
	}
	return name
}

// runtime is the OCI runtime that t is to have, by its name in the engine.
func (g Engine) runtime(t executor.Task) string {
	if t.Strict {
		return g.Strict
	}
	return g.Runtime
}

// forTask is the engine as t's container sees it, asked anew for a strict task:
// it may have been given a runtime, or have lost it, meanwhile.
func (e *Executor) forTask(ctx context.Context, t executor.Task) (Engine, error) {
	g := e.engine
	if !t.Strict {
		return g, nil
	}
	si, err := e.system(ctx)
	if err != nil {
		return g, err
	}
	if g.Strict = strictRuntime(si, e.cfg.Strict); g.Strict != "" {
		return g, nil
	}
	return g, jobspec.Failure{
		Kind: jobspec.KindPolicy, Where: "isolation", Detail: "asks strict, and the engine has no runtime " + e.cfg.Strict + " with a kernel of its own, only " + strings.Join(slices.Sorted(maps.Keys(si.Runtimes)), ", "),
		Hint: "register one with the engine (scripts/runsc.sh of ipdc's source does so for gVisor's runsc) and name it in the setting strict-runtime, or use isolation: standard",
	}.Error()
}
