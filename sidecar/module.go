package sidecar

import (
	"github.com/ipdc/ipdc/images"
	"github.com/ipdc/ipdc/internal/wasi"
	"github.com/ipdc/ipdc/jobspec"
)

// checkModule refuses what a job asks for that no WASI module can use, before
// anything is fetched or installed for it.
func checkModule(spec jobspec.Spec, img images.Image) error {
	if img.Arch != wasi.Arch {
		return nil
	}
	refuse := func(where, detail, hint string) error {
		return jobspec.Failure{Kind: jobspec.KindSpec, Where: where, Detail: detail, Hint: hint}.Error()
	}
	switch {
	case !spec.Run.Code.Defined():
		return refuse("run.code", "image wasm runs the module in run.code, and there is none", "ipdc job submit -x MODULE.wasm sets it")
	case len(spec.Network) > 0:
		return refuse("network", "WASI preview 1 has no sockets, so a module can reach nothing", "leave network out, or use an image")
	case spec.Isolation == jobspec.IsolationStrict:
		return refuse("isolation", "a WASI module has no kernel of its own: it reaches none but by a process of ipdc, which the host's kernel holds", "use isolation: standard, or an image")
	case spec.Run.Requirements.Defined():
		return refuse("run.requirements", "Python packages are of no use to a WASI module", "leave requirements out, or use the image python")
	}
	return nil
}
