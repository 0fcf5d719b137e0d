package wasm_test

import (
	"context"
	"errors"
	"testing"

	"github.com/ipdc/ipdc/images"
	"github.com/ipdc/ipdc/images/wasm"
	"github.com/ipdc/ipdc/internal/wasi"
	"github.com/ipdc/ipdc/jobspec"
)

// engine has one image under every name.
type engine struct{ images.Store }

const theirs = jobspec.ImageID("sha256:1111111111111111111111111111111111111111111111111111111111111111")

func (engine) Resolve(context.Context, string) (images.Image, error) {
	return images.Image{ID: theirs, Arch: "amd64"}, nil
}

func (e engine) Pull(ctx context.Context, ref string, _ images.Progress) (images.Image, error) {
	return e.Resolve(ctx, ref)
}

func TestResolve(t *testing.T) {
	down := errors.New("no engine")
	var missing error
	s := &wasm.Store{Store: engine{}, Ready: func(context.Context) error { return missing }}
	for _, missing = range []error{nil, down} {
		for _, ref := range []string{"wasm", wasi.ID().String()} {
			img, err := s.Resolve(t.Context(), ref)
			if err != nil || img.ID != wasi.ID() || img.Arch != "wasm" {
				t.Errorf("Resolve(%s) = %+v, %v, want the runtime", ref, img, err)
			}
			if same, err := s.Pull(t.Context(), ref, nil); err != nil || same != img {
				t.Errorf("Pull(%s) = %+v, %v, want %+v", ref, same, err, img)
			}
		}
		img, err := s.Resolve(t.Context(), "python")
		if !errors.Is(err, missing) || missing == nil && img.ID != theirs {
			t.Errorf("Resolve(python) = %+v, %v, want the engine's image or %v", img, err, missing)
		}
		if _, err := s.Pull(t.Context(), "python", nil); !errors.Is(err, missing) {
			t.Errorf("Pull(python) = %v, want %v", err, missing)
		}
	}
}
