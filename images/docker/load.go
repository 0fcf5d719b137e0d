package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/distribution/reference"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"github.com/ipdc/ipdc/jobspec"
)

// Load streams a docker-archive to the engine, and tags its image. The error
// is of kind E_IMAGE_REF for an archive that is not exactly one image under
// its own digest, E_LIMIT_BYTES or E_LIMIT_ENTRIES for one that is too large;
// the engine has no new image then.
func (s *Store) Load(ctx context.Context, archive io.Reader, tag string) (jobspec.ImageID, error) {
	if tag != "" {
		named, err := reference.ParseNormalizedNamed(tag)
		_, tagged := named.(reference.NamedTagged)
		_, digested := named.(reference.Digested)
		if err != nil || !tagged || digested {
			return "", malformed(tag, "a tag is name:tag")
		}
	}
	id, err := s.stream(ctx, archive)
	if err != nil {
		return "", fmt.Errorf("load image: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	got, err := s.cli.ImageInspect(ctx, id.String())
	if err != nil {
		return "", fmt.Errorf("load image: inspect %s: %w", id, err)
	}
	if got.ID != id.String() {
		return "", fmt.Errorf("load image: the engine has it as %s instead of %s", got.ID, id)
	}
	if tag != "" {
		if _, err := s.cli.ImageTag(ctx, client.ImageTagOptions{Source: id.String(), Target: tag}); err != nil {
			return "", fmt.Errorf("tag image %s as %s: %w", id, tag, err)
		}
	}
	s.cfg.Logger.Info("image loaded", "image", tag, "id", id, "size", got.Size)
	return id, nil
}

// stream sends the archive through a sieve. When the sieve refuses, the
// request's body breaks off before the manifest, without which the engine
// loads nothing.
func (s *Store) stream(ctx context.Context, archive io.Reader) (jobspec.ImageID, error) {
	pr, pw := io.Pipe()
	f := newSieve(archive, pw, s.cfg.MaxArchive)
	var id jobspec.ImageID
	var g errgroup.Group
	g.Go(func() (err error) {
		id, err = f.run(ctx)
		pw.CloseWithError(err)
		return err
	})
	loadErr := engineFull(s.send(ctx, pr))
	// Where the engine stopped reading, the sieve must not wait for it.
	pr.CloseWithError(errors.Join(errUnread, loadErr))
	err := g.Wait()
	if errors.Is(err, errUnread) {
		err = nil
	}
	switch {
	case err != nil:
		return "", err
	case loadErr != nil:
		return "", loadErr
	case id == "":
		return "", errUnread
	}
	return id, nil
}

var errUnread = errors.New("the engine does not read on")

// send posts the archive and reads the engine's answer, a stream of JSON
// messages.
func (s *Store) send(ctx context.Context, archive io.Reader) error {
	ctx, moved, stop := s.attended(ctx)
	defer stop()
	res, err := s.cli.ImageLoad(ctx, movingReader{archive, moved}, client.ImageLoadWithQuiet(true))
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	defer res.Close()
	dec := json.NewDecoder(io.LimitReader(res, 1<<20))
	for {
		var msg struct {
			Error string `json:"error"`
		}
		err := dec.Decode(&msg)
		if err == io.EOF {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return fmt.Errorf("read the engine's answer: %w", err)
		}
		if msg.Error != "" {
			return errors.New(msg.Error)
		}
	}
}
