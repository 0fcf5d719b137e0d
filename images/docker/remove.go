package docker

import (
	"context"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/ipdc/ipdc/images"
	"github.com/ipdc/ipdc/jobspec"
)

// Tag gives a local image one more name.
func (s *Store) Tag(ctx context.Context, id jobspec.ImageID, tag string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if _, err := s.cli.ImageTag(ctx, client.ImageTagOptions{Source: id.String(), Target: tag}); err != nil {
		return fmt.Errorf("tag image %s as %s: %w", id, tag, err)
	}
	return nil
}

// Remove takes the name ref away from its image, and those under ipdc/cid and
// ipdc/digest. An image given by its id loses them all, and goes.
func (s *Store) Remove(ctx context.Context, ref string) (images.Image, error) {
	t, err := parse(ref)
	if err != nil {
		return images.Image{}, err
	}
	img, err := s.resolve(ctx, ref)
	if err != nil {
		return img, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	got, err := s.cli.ImageInspect(ctx, img.ID.String())
	if err != nil {
		return img, fmt.Errorf("inspect image %s: %w", img.ID, err)
	}
	names := []string{}
	for _, tag := range got.RepoTags {
		own := strings.HasPrefix(tag, "ipdc/cid:") || strings.HasPrefix(tag, "ipdc/digest:")
		if own || t.named == nil && t.stock == "" && !t.cid || tag == t.shown {
			names = append(names, tag)
		}
	}
	switch {
	case len(got.RepoTags) == 0:
		names = []string{img.ID.String()}
	case len(names) == 0:
		return img, jobspec.Failure{
			Kind: jobspec.KindConflict, Detail: fmt.Sprintf("image %s has other names: %s", t.shown, strings.Join(got.RepoTags, ", ")),
			Hint: "remove it by those, or by its id " + img.ID.String(),
		}.Error()
	}
	defer s.seen.Clear()
	for _, name := range names {
		_, err := s.cli.ImageRemove(ctx, name, client.ImageRemoveOptions{PruneChildren: true})
		switch {
		case errdefs.IsConflict(err):
			return img, jobspec.Failure{
				Kind: jobspec.KindConflict, Detail: fmt.Sprintf("image %s is in use: %v", t.shown, err),
				Hint: "wait for the jobs that run in it, or stop them",
			}.Error()
		case err != nil && !errdefs.IsNotFound(err):
			return img, fmt.Errorf("remove image %s: %w", name, err)
		}
	}
	return img, nil
}
