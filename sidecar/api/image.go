package api

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// ImageService is the part of a Service that is about the engine's images. A
// ref is one of run.image in a spec. Errors are as of images.Store.
type ImageService interface {
	// PullImage makes an image local, from the archive behind a CID or from
	// its registry. progress is called from one goroutine.
	PullImage(ctx context.Context, ref string, progress func(done, total int64)) (wire.Image, error)
	// PushImage stores an archive of a local image and pins it for the tenant.
	PushImage(ctx context.Context, tenant, ref string) (wire.PushedImage, error)
	// RemoveImage takes a name away from an image; with the last the image goes.
	RemoveImage(ctx context.Context, ref string) (wire.Image, error)
}

type imageInput struct {
	Ref string `query:"ref" doc:"Stock name, reference, image id, or the CID of an image archive"`
}

func (a *API) registerImages(h huma.API) {
	register(a, h, huma.Operation{
		OperationID: "push-image", Method: http.MethodPost, Path: "/v1/images/push",
		Summary: "Store an archive of a local image and pin it", Middlewares: huma.Middlewares{noDeadline},
	}, func(ctx context.Context, in *imageInput) (*answer[wire.PushedImage], error) {
		if err := checkImageRef(in.Ref); err != nil {
			return nil, err
		}
		p, err := a.cfg.Service.PushImage(ctx, tenantOf(ctx), in.Ref)
		return &answer[wire.PushedImage]{p}, err
	})
	register(a, h, huma.Operation{
		OperationID: "remove-image", Method: http.MethodDelete, Path: "/v1/images",
		Summary: "Take a name away from an image; with its last name it goes. Only over the unix socket",
	}, a.removeImage)
	a.registerStream(h.OpenAPI(), huma.Operation{
		OperationID: "pull-image", Method: http.MethodPost, Path: "/v1/images/pull",
		Summary:     "Make an image local, from the archive behind a CID or from its registry",
		Description: "Lines of PullProgress; the last one has the image or the problem.",
		Parameters:  []*huma.Param{queryParam("ref", "A reference, or the CID of an image archive", huma.TypeString)},
		Responses:   streamDoc(wire.TypeLines),
	}, a.pullImage)
}

// checkImageRef refuses what is written wrong, as submitting does.
func checkImageRef(ref string) error {
	err := jobspec.CheckImage(ref)
	if err == nil {
		return nil
	}
	f := jobspec.AsFailure(err)
	f.Where, f.Hint = "ref", "docs/jobspec.md says how images are written (run.image)"
	return f.Error()
}

// removeImage is for the node's own user, whose images they are.
func (a *API) removeImage(ctx context.Context, in *imageInput) (*answer[wire.Image], error) {
	if !callerOf(ctx).socket {
		return nil, jobspec.Failure{
			Kind: jobspec.KindPolicy, Detail: "images are removed by the node's own user only",
			Hint: "use the node's unix socket: ipdc image rm on its machine",
		}.Error()
	}
	if err := checkImageRef(in.Ref); err != nil {
		return nil, err
	}
	img, err := a.cfg.Service.RemoveImage(ctx, in.Ref)
	return &answer[wire.Image]{img}, err
}

// pullStep is how many bytes come between two lines of a pull's progress.
const pullStep = 1 << 20

// pullImage sends progress as it comes. What fails before the first bytes is a
// problem with its status, later it is the last line.
func (a *API) pullImage(w *stream, r *http.Request) error {
	ref := r.URL.Query().Get("ref")
	if err := checkImageRef(ref); err != nil {
		return err
	}
	w.live = true
	w.Header().Set("Content-Type", wire.TypeLines)
	ctx, cancel := a.streamContext(r)
	defer cancel()
	line := func(p wire.PullProgress) error {
		b, err := json.Marshal(p)
		if err != nil {
			return err
		}
		_, err = w.Write(append(b, '\n'))
		return err
	}
	told := int64(-pullStep)
	img, err := a.cfg.Service.PullImage(ctx, ref, func(done, total int64) {
		if done-told >= pullStep || done < told { // less after a new beginning
			told = done
			_ = line(wire.PullProgress{Done: done, Total: total}) // who left is seen by ctx
		}
	})
	switch {
	case err == nil:
		return line(wire.PullProgress{Image: &img})
	case !w.begun || ctx.Err() != nil:
		return err
	}
	p := a.problem(r.Context(), err)
	return line(wire.PullProgress{Problem: &p})
}
