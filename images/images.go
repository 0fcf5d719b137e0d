// Package images is the contract of the engine's image store. Adapter: docker.
// images/<name>/ holds the recipes of the stock images; [Stock] names them.
//
//	img, err := store.Resolve(ctx, "python")         // stock name or local reference
//	img, err = store.Pull(ctx, "debian:12", nil)      // from its registry unless it is here
//	id, err := store.Load(ctx, archive, "a:tag")      // a docker-archive
//	err = store.Save(ctx, id, w)                      // the same bytes for the same image
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
	// Resolve finds a local image by stock name, reference, id, or the CID of
	// an archive under whose [CIDTag] it was loaded. The error is of kind
	// E_IMAGE_REF, with a hint, when the reference is malformed or no such
	// image is there.
	Resolve(ctx context.Context, ref string) (Image, error)
	// Pull is Resolve, and fetches what is missing from its registry when the
	// reference names one. The image is kept under its reference. Calls for
	// one reference wait for each other. The error is of kind E_POLICY for a
	// registry that is not allowed, E_IMAGE_REF when it does not have the
	// image, E_PULL_STALL when it gives nothing for too long, E_LIMIT_BYTES
	// or E_LIMIT_ENTRIES when the image is too large, E_IMAGE_RUN when it is
	// for another architecture. progress may be nil.
	Pull(ctx context.Context, ref string, progress Progress) (Image, error)
	// Load stores the one image of a docker-archive, tags it when tag is not
	// empty, and returns its identity. Loading it again changes nothing.
	Load(ctx context.Context, archive io.Reader, tag string) (jobspec.ImageID, error)
	// Save writes a docker-archive of the image whose bytes depend on the
	// image only, so that it has one CID everywhere. The error is of kind
	// E_IMAGE_REF when the image is not there.
	Save(ctx context.Context, id jobspec.ImageID, w io.Writer) error
	// Tag gives a local image one more name.
	Tag(ctx context.Context, id jobspec.ImageID, tag string) error
	// Remove takes the name ref away from its image, and those that ipdc
	// itself gave it; with its last name the image goes. The error is of kind
	// E_CONFLICT while a container uses it.
	Remove(ctx context.Context, ref string) (Image, error)
	// List returns the stock images that are there, then those that are known
	// by the CID of an archive.
	List(ctx context.Context) ([]Image, error)
}

// Progress is told how many bytes of how many have come, from one goroutine.
type Progress func(done, total int64)

// CIDTag is the name under which the image of an archive with this CID is
// kept, so that it is loaded once.
func CIDTag(archive jobspec.CID) string { return "ipdc/cid:" + archive.String() }

// Image is a local image.
type Image struct {
	ID   jobspec.ImageID
	Ref  string // the reference it was found by, or its tag
	Arch string // in Go's words: "amd64"
	Size int64  // bytes, unpacked
}
