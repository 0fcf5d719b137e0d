package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// Attachments are CAR files that the node serves where they lie.
type Attachments interface {
	// Attach serves a CAR file, or all below a directory, once it has read them.
	Attach(ctx context.Context, path, label string) (wire.Attached, error)
	// Verify reads attached files again, all without a ref.
	Verify(ctx context.Context, ref string) (wire.Attached, error)
	// Detach stops serving files, which stay as they are.
	Detach(ctx context.Context, ref string) (wire.Attached, error)
	List() []wire.AttachedFile
	// Has says whether a block lies in one of them.
	Has(c jobspec.CID) bool
}

// unattached refuses: the node's blocks lie where none can be joined.
type unattached struct{}

func (unattached) Attach(context.Context, string, string) (wire.Attached, error) {
	return wire.Attached{}, errUnattached
}
func (unattached) Verify(context.Context, string) (wire.Attached, error) {
	return wire.Attached{}, errUnattached
}
func (unattached) Detach(context.Context, string) (wire.Attached, error) {
	return wire.Attached{}, errUnattached
}
func (unattached) List() []wire.AttachedFile { return nil }
func (unattached) Has(jobspec.CID) bool      { return false }

var errUnattached = jobspec.Failure{
	Kind: jobspec.KindPolicy, Detail: "this node's blocks lie in a Kubo, beside which no files are attached",
	Hint: "start the node without --ipfs, or import the CAR into the Kubo: ipdc import FILE",
}.Error()

// registerAttached adds what is for the node's own user only: it names files of
// the machine.
func (a *API) registerAttached(h huma.API) {
	register(a, h, huma.Operation{
		OperationID: "attached", Method: http.MethodGet, Path: "/v1/data",
		Summary: "List the CAR files that are served in place. Only for the node's own user",
	}, func(ctx context.Context, _ *nothing) (*answer[wire.AttachedList], error) {
		if err := adminOnly(ctx); err != nil {
			return nil, err
		}
		return &answer[wire.AttachedList]{wire.AttachedList{Files: append([]wire.AttachedFile{}, a.cfg.Attachments.List()...)}}, nil
	})
	for _, op := range []struct {
		id, path, summary string
		example           any
		do                func(context.Context, *jsonInput) (wire.Attached, error)
	}{
		{"attach", "/v1/data", "Serve a CAR file, or all below a directory, in place", wire.Attach{Path: "/data/sector.car"}, a.attach},
		{"verify-attached", "/v1/data/verify", "Read attached files again", wire.VerifyAttached{Ref: "/data"}, a.verifyAttached},
		{"detach", "/v1/data/detach", "Stop serving attached files, which stay as they are", wire.AttachedRef{Ref: "/data/sector.car"}, a.detach},
	} {
		register(a, h, takesJSON(a, h, op.example, huma.Operation{
			OperationID: op.id, Method: http.MethodPost, Path: op.path, Summary: op.summary + ". Only for the node's own user",
		}), func(ctx context.Context, in *jsonInput) (*answer[wire.Attached], error) {
			if err := adminOnly(ctx); err != nil {
				return nil, err
			}
			out, err := op.do(ctx, in)
			out.Files = append([]wire.AttachedFile{}, out.Files...)
			return &answer[wire.Attached]{out}, err
		})
	}
}

func (a *API) attach(ctx context.Context, in *jsonInput) (wire.Attached, error) {
	w, err := decode[wire.Attach](in)
	if err != nil {
		return wire.Attached{}, err
	}
	return a.cfg.Attachments.Attach(ctx, w.Path, w.Label)
}

func (a *API) verifyAttached(ctx context.Context, in *jsonInput) (wire.Attached, error) {
	w, err := decode[wire.VerifyAttached](in)
	if err != nil {
		return wire.Attached{}, err
	}
	return a.cfg.Attachments.Verify(ctx, w.Ref)
}

func (a *API) detach(ctx context.Context, in *jsonInput) (wire.Attached, error) {
	w, err := decode[wire.AttachedRef](in)
	if err != nil {
		return wire.Attached{}, err
	}
	return a.cfg.Attachments.Detach(ctx, w.Ref)
}
