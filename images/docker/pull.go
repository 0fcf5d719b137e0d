package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"

	"github.com/ipdc/ipdc/images"
	"github.com/ipdc/ipdc/jobspec"
)

// DefaultRegistries are those that are pulled from unless a node is told
// otherwise.
var DefaultRegistries = []string{"docker.io", "ghcr.io", "quay.io"}

// Pull returns the image that ref names, and fetches it from its registry when
// the engine does not have it. The manifest says before the first layer
// whether the image is too large; every byte is checked against its digest and
// goes through the same sieve as an archive. Nobody's credentials are used.
func (s *Store) Pull(ctx context.Context, ref string, progress images.Progress) (images.Image, error) {
	t, err := parse(ref)
	if err != nil {
		return images.Image{}, err
	}
	img, err := s.resolve(ctx, ref)
	if !errors.Is(err, jobspec.KindImageRef.Error()) || t.named == nil {
		return img, err
	}
	if err := s.allowed(t); err != nil {
		return images.Image{}, err
	}
	unlock, err := s.pulling.Lock(ctx, t.lookup)
	if err != nil {
		return images.Image{}, err
	}
	defer unlock()
	if img, err := s.Resolve(ctx, ref); !errors.Is(err, jobspec.KindImageRef.Error()) {
		return img, err
	}
	if err := s.pull(ctx, t, progress); err != nil {
		return images.Image{}, fmt.Errorf("pull image %s: %w", t.shown, err)
	}
	return s.Resolve(ctx, ref)
}

// allowed holds references to the configured registries, and keeps the names
// of stock images from meaning anything but what this program builds.
func (s *Store) allowed(t target) error {
	registry := reference.Domain(t.named)
	if registry == "docker.io" && strings.HasPrefix(reference.Path(t.named), "ipdc/") {
		return t.absent()
	}
	if slices.Contains(s.cfg.Registries, registry) {
		return nil
	}
	return jobspec.Failure{
		Kind:   jobspec.KindPolicy,
		Detail: fmt.Sprintf("no local image %s, and this node pulls from %s only", t.shown, strings.Join(s.cfg.Registries, ", ")),
		Hint:   fmt.Sprintf("docker pull it first, or add %s to the node's setting registries", registry),
	}.Error()
}

// pull streams the image from its registry into the engine.
func (s *Store) pull(ctx context.Context, t target, progress images.Progress) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	var done, total atomic.Int64
	g := newGate(s.cfg.Registries, &pace{stall: s.cfg.PullStall, end: end, progress: func(n int64) {
		if progress != nil && total.Load() > 0 {
			progress(done.Add(n), total.Load())
		}
	}})
	defer g.inner.CloseIdleConnections()
	img, size, err := s.manifest(ctx, t, g)
	if err != nil {
		return t.explain(ctx, err)
	}
	total.Store(size)
	pr, pw := io.Pipe()
	var wg errgroup.Group
	wg.Go(func() error {
		err := tarball.Write(name.MustParseReference("ipdc/pulled"), img, pw)
		pw.CloseWithError(err)
		return err
	})
	_, loadErr := s.Load(ctx, pr, t.tag())
	pr.CloseWithError(errUnread)
	// What the registry did explains what the engine was then left without.
	if err := wg.Wait(); err != nil && !errors.Is(err, errUnread) {
		return t.explain(ctx, err)
	}
	return loadErr
}

// manifest returns the image for this engine's architecture, of which only the
// manifest and the config were fetched, and the bytes that are to come.
func (s *Store) manifest(ctx context.Context, t target, g *gate) (v1.Image, int64, error) {
	ref, err := name.ParseReference(t.lookup)
	if err != nil {
		return nil, 0, malformed(t.shown, err.Error())
	}
	img, err := remote.Image(ref, remote.WithContext(ctx), remote.WithTransport(g), remote.WithUserAgent("ipdc"),
		remote.WithPlatform(v1.Platform{OS: "linux", Architecture: s.arch}))
	if err != nil {
		return nil, 0, err
	}
	m, err := img.Manifest()
	if err != nil {
		return nil, 0, err
	}
	size, err := s.measure(m)
	if err != nil {
		return nil, 0, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, 0, err
	}
	if config.Architecture != s.arch {
		return nil, 0, jobspec.KindImageRun.Errorf("image %s is for %s, this node runs %s", t.shown, config.Architecture, s.arch)
	}
	return img, size, nil
}

// layerTypes are the layers that an engine unpacks: tar, plain or by gzip.
var layerTypes = []types.MediaType{types.DockerLayer, types.DockerUncompressedLayer, types.OCILayer, types.OCIUncompressedLayer}

// measure adds up what the manifest announces.
func (s *Store) measure(m *v1.Manifest) (size int64, err error) {
	if m.Config.Size < 0 || m.Config.Size > maxJSON {
		return 0, jobspec.KindLimitBytes.Errorf("a config of %d bytes, at most %d are allowed", m.Config.Size, maxJSON)
	}
	if len(m.Layers) > maxLayers {
		return 0, jobspec.KindLimitEntries.Errorf("an image of %d layers, at most %d are allowed", len(m.Layers), maxLayers)
	}
	seen := map[v1.Hash]bool{}
	for i, l := range m.Layers {
		if !slices.Contains(layerTypes, l.MediaType) {
			return 0, refuse("layer %d is of type %q; only tar and tar+gzip are taken", i, l.MediaType)
		}
		if l.Size < 0 || l.Size > s.cfg.MaxArchive || size+l.Size > s.cfg.MaxArchive {
			return 0, jobspec.Failure{
				Kind: jobspec.KindLimitBytes, Detail: fmt.Sprintf("an image of more than %d bytes", s.cfg.MaxArchive),
				Hint: "raise the node's setting image-size",
			}.Error()
		}
		if !seen[l.Digest] {
			seen[l.Digest] = true
			size += l.Size
		}
	}
	return size, nil
}

// explain turns what went wrong with a registry into a refusal.
func (t target) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var refused *jobspec.FailureError
	if errors.As(err, &refused) {
		return err
	}
	var status *transport.Error
	var netErr net.Error
	var urlErr *url.Error
	switch {
	case errors.As(err, &status) && slices.Contains([]int{http.StatusNotFound, http.StatusUnauthorized, http.StatusForbidden}, status.StatusCode):
		return jobspec.Failure{
			Kind:   jobspec.KindImageRef,
			Detail: fmt.Sprintf("%s has no image %s for everybody (%d)", reference.Domain(t.named), t.shown, status.StatusCode),
			Hint:   "check the name and the tag; a private image is pulled by hand first: docker login, docker pull",
		}.Error()
	case errors.As(err, &netErr), errors.As(err, &urlErr), errors.As(err, &status), errors.Is(err, io.ErrUnexpectedEOF):
		return jobspec.Failure{
			Kind:   jobspec.KindPullStall,
			Detail: fmt.Sprintf("registry %s: %v", reference.Domain(t.named), err),
			Hint:   "try again later; behind a proxy, start the node with HTTPS_PROXY set",
		}.Error()
	}
	return jobspec.Failure{
		Kind:   jobspec.KindImageRef,
		Detail: fmt.Sprintf("registry %s does not give the image as announced: %v", reference.Domain(t.named), err),
		Hint:   "try again, or take another tag or registry",
	}.Error()
}
