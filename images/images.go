// Package images is the contract of the engine's image store. Adapter: docker.
// images/<name>/ holds the recipes of the stock images; [Stock] names them.
//
//	img, err := store.Resolve(ctx, "python") // stock name or local reference
//	id, err := store.Load(ctx, archive)       // a docker-archive
//
// Invariants: an image's identity is its config digest; nothing is ever pulled
// under a stock name; Load verifies that the archive holds exactly one image
// whose config digest is the id it returns.
package images

import (
	"context"
	"io"

	"github.com/ipdc/ipdc/jobspec"
)

// Store finds and loads images.
type Store interface {
	// Resolve finds a local image by stock name, reference or id. The error is
	// of kind E_IMAGE_REF, with a hint, when the reference is malformed or no
	// such image is there.
	Resolve(ctx context.Context, ref string) (Image, error)
	// Load stores the one image of a docker-archive, tags it when tag is not
	// empty, and returns its identity. Loading it again changes nothing.
	Load(ctx context.Context, archive io.Reader, tag string) (jobspec.ImageID, error)
	// List returns the stock images that are there.
	List(ctx context.Context) ([]Image, error)
}

// Image is a local image.
type Image struct {
	ID   jobspec.ImageID
	Ref  string // the reference it was found by, or its tag
	Arch string // in Go's words: "amd64"
	Size int64  // bytes, unpacked
}
