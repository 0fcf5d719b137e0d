// Package wasm is an image store that knows the image `wasm`, the runtime of
// WASI modules, and leaves all others to the engine's store. It needs no
// engine for its own.
//
//	store := &wasm.Store{Store: dockerImages, Ready: engine.Ready}
//	img, err := store.Resolve(ctx, "wasm") // its id names the runtime's version
package wasm

import (
	"context"
	"io"

	"github.com/ipdc/ipdc/images"
	"github.com/ipdc/ipdc/internal/wasi"
	"github.com/ipdc/ipdc/jobspec"
)

// Store resolves `wasm` itself.
type Store struct {
	images.Store
	// Ready says whether the engine behind Store can be asked, and if not, why;
	// its error is the answer then.
	Ready func(ctx context.Context) error
}

var _ images.Store = (*Store)(nil)

// own returns the runtime when ref names it.
func own(ref string) (images.Image, bool) {
	if ref != wasi.Image && ref != wasi.ID().String() {
		return images.Image{}, false
	}
	return images.Image{ID: wasi.ID(), Ref: wasi.Image, Arch: wasi.Arch}, true
}

// Resolve finds the runtime by its name or id, and other images in the engine.
func (s *Store) Resolve(ctx context.Context, ref string) (images.Image, error) {
	if img, ok := own(ref); ok {
		return img, nil
	}
	if err := s.Ready(ctx); err != nil {
		return images.Image{}, err
	}
	return s.Store.Resolve(ctx, ref)
}

// Pull is Resolve for the runtime, which is never fetched.
func (s *Store) Pull(ctx context.Context, ref string, progress images.Progress) (images.Image, error) {
	if img, ok := own(ref); ok {
		return img, nil
	}
	if err := s.Ready(ctx); err != nil {
		return images.Image{}, err
	}
	return s.Store.Pull(ctx, ref, progress)
}

// Load loads an image into the engine.
func (s *Store) Load(ctx context.Context, archive io.Reader, tag string) (jobspec.ImageID, error) {
	if err := s.Ready(ctx); err != nil {
		return "", err
	}
	return s.Store.Load(ctx, archive, tag)
}

// Save writes an image of the engine; the runtime is none.
func (s *Store) Save(ctx context.Context, id jobspec.ImageID, w io.Writer) error {
	if _, ok := own(id.String()); ok {
		return jobspec.KindImageRef.Errorf("image %s is a part of ipdc and no archive; the module itself has a CID", wasi.Image)
	}
	if err := s.Ready(ctx); err != nil {
		return err
	}
	return s.Store.Save(ctx, id, w)
}

// Tag names an image of the engine.
func (s *Store) Tag(ctx context.Context, id jobspec.ImageID, tag string) error {
	if err := s.Ready(ctx); err != nil {
		return err
	}
	return s.Store.Tag(ctx, id, tag)
}

// Remove takes a name from an image of the engine; the runtime stays.
func (s *Store) Remove(ctx context.Context, ref string) (images.Image, error) {
	if img, ok := own(ref); ok {
		return img, jobspec.KindImageRef.Errorf("image %s is a part of ipdc and cannot be removed", wasi.Image)
	}
	if err := s.Ready(ctx); err != nil {
		return images.Image{}, err
	}
	return s.Store.Remove(ctx, ref)
}

// List returns the engine's stock images; without an engine there are none.
func (s *Store) List(ctx context.Context) ([]images.Image, error) {
	if s.Ready(ctx) != nil {
		return nil, nil
	}
	return s.Store.List(ctx)
}
