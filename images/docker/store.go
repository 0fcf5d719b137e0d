// Package docker keeps images in a Docker Engine.
//
//	store, err := docker.Open(ctx, docker.Config{})
//	defer store.Close()
//	img, err := store.Resolve(ctx, "python")     // the stock image of this build
//	id, err := store.Load(ctx, archive, "a:tag") // a docker-archive
//
// Invariants: an image is known by its config digest, and a tag that moves
// later changes nothing that was resolved; an archive gives exactly one image
// and no tag but the one asked for; only Pull uses the network, and only for
// configured registries.
package docker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/ipdc/ipdc/images"
	"github.com/ipdc/ipdc/internal/keylock"
	"github.com/ipdc/ipdc/jobspec"
)

var _ images.Store = (*Store)(nil)

// callTimeout bounds every call to the engine but those that carry an archive,
// see [Config].Stall.
const callTimeout = 30 * time.Second

// Config says which engine to use.
type Config struct {
	Host       string       // "unix:///var/run/docker.sock"; empty: DOCKER_HOST, else the default socket
	MaxArchive int64        // bytes an image may have, packed and unpacked; 0: 8 GiB
	Later      bool         // Open asks the engine nothing; the caller calls Check before the first use
	Logger     *slog.Logger // nil: no logs

	Registries []string      // that are pulled from, "host" or "host:port"; nil: [DefaultRegistries]
	PullStall  time.Duration // a pull that waits for so long for 64 KiB fails; 0: 2 min
	Stall      time.Duration // an engine that takes and gives nothing of an archive for so long is given up; 0: 10 min
	Spool      string        // directory for an archive that is being saved; "": os.TempDir
}

// Store is the image store of one engine. Its methods may be called
// concurrently.
type Store struct {
	cli     *client.Client
	cfg     Config
	arch    string        // of the engine, in Go's words
	pulling keylock.Locks // by reference
	seen    sync.Map      // stock name -> sighting
}

// sighting is the image that a stock name was found to mean.
type sighting struct {
	img images.Image
	at  time.Time
}

// sightFor is how long a stock image counts as there once it was seen. What
// its name means does not change meanwhile: the tag is the digest of a recipe.
const sightFor = 10 * time.Second

// Open connects to the engine and checks that its images are known by their
// config digests.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.MaxArchive == 0 {
		cfg.MaxArchive = int64(8 * jobspec.GiB)
	}
	if cfg.Registries == nil {
		cfg.Registries = DefaultRegistries
	}
	if cfg.PullStall == 0 {
		cfg.PullStall = 2 * time.Minute
	}
	if cfg.Stall == 0 {
		cfg.Stall = 10 * time.Minute
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	opts := []client.Opt{client.FromEnv}
	if cfg.Host != "" {
		opts = append(opts, client.WithHost(cfg.Host))
	}
	cli, err := client.New(opts...)
	if err != nil {
		return nil, fmt.Errorf("open docker engine: %w", err)
	}
	s := &Store{cli: cli, cfg: cfg}
	if cfg.Later {
		return s, nil
	}
	if err := s.Check(ctx); err != nil {
		cli.Close()
		return nil, err
	}
	return s, nil
}

// Check refuses an engine with the containerd image store, whose ids are
// manifest digests: they differ from one node to the next for one image.
func (s *Store) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	info, err := s.cli.Info(ctx, client.InfoOptions{})
	if err != nil {
		return fmt.Errorf("ask docker engine at %s (is it running? systemctl start docker): %w", s.cli.DaemonHost(), err)
	}
	s.arch = goArch(info.Info.Architecture)
	for _, kv := range info.Info.DriverStatus {
		if kv[0] == "driver-type" && strings.HasPrefix(kv[1], "io.containerd.snapshotter") {
			return jobspec.Failure{
				Kind:   jobspec.KindPolicy,
				Detail: "the docker engine uses the containerd image store, which knows images by other ids than their config digests",
				Hint:   `put {"features": {"containerd-snapshotter": false}} into /etc/docker/daemon.json and restart docker`,
			}.Error()
		}
	}
	return nil
}

// goArch turns the engine's word for its architecture, which is the kernel's,
// into Go's.
func goArch(s string) string {
	switch s {
	case "x86_64":
		return "amd64"
	case "aarch64":
		return "arm64"
	}
	return s
}

// Close lets go of the connections. Calling it again does nothing.
func (s *Store) Close() error { return s.cli.Close() }

// Resolve finds a local image by a stock name, a reference ("alpine",
// "registry.example/a/b:1", "a@sha256:...") or a whole id ("sha256:" and 64
// digits). A stock name means the image of this program's own recipe only.
// With a digest the tag in front of it is ignored. A CID finds what was loaded
// under its [images.CIDTag]. A stock image that was there in the last ten
// seconds is not asked for again; a job finds out when it makes its container.
func (s *Store) Resolve(ctx context.Context, ref string) (images.Image, error) {
	if v, ok := s.seen.Load(ref); ok && time.Since(v.(sighting).at) < sightFor {
		return v.(sighting).img, nil
	}
	return s.resolve(ctx, ref)
}

// resolve is Resolve that asks the engine.
func (s *Store) resolve(ctx context.Context, ref string) (images.Image, error) {
	t, err := parse(ref)
	if err != nil {
		return images.Image{}, err
	}
	s.seen.Delete(ref)
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	got, err := s.cli.ImageInspect(ctx, t.lookup)
	if errdefs.IsNotFound(err) && t.digest != "" && t.named != nil {
		if got, err = s.cli.ImageInspect(ctx, t.tag()); err == nil {
			got.RepoDigests = append(got.RepoDigests, t.shown)
		}
	}
	switch {
	case errdefs.IsNotFound(err):
		return images.Image{}, t.absent()
	case errdefs.IsInvalidArgument(err):
		return images.Image{}, malformed(ref, err.Error())
	case err != nil:
		return images.Image{}, fmt.Errorf("inspect image %s: %w", t.shown, err)
	case !imageID.MatchString(got.ID):
		return images.Image{}, fmt.Errorf("inspect image %s: the engine says id %q", t.shown, got.ID)
	case t.digest != "" && got.ID != t.digest && !slices.Contains(got.RepoDigests, t.shown):
		// The engine also answers when the digest is some other image's id.
		return images.Image{}, t.absent()
	}
	img := images.Image{ID: jobspec.ImageID(got.ID), Ref: t.shown, Arch: got.Architecture, Size: got.Size}
	if t.stock != "" {
		s.seen.Store(ref, sighting{img, time.Now()})
	}
	return img, nil
}

// List returns the stock images that are there, by name in byte order, then
// those that were pushed, or loaded by their CID.
func (s *Store) List(ctx context.Context) ([]images.Image, error) {
	var all []images.Image
	for _, r := range images.Stock() {
		img, err := s.resolve(ctx, r.Name)
		if errors.Is(err, jobspec.KindImageRef.Error()) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, img)
	}
	cids, err := s.cids(ctx)
	for _, c := range cids {
		img, err := s.resolve(ctx, c)
		if errors.Is(err, jobspec.KindImageRef.Error()) {
			continue // removed meanwhile, or no CID
		}
		if err != nil {
			return nil, err
		}
		all = append(all, img)
	}
	return all, err
}

// cids returns what stands behind images.CIDTag's prefix, sorted.
func (s *Store) cids(ctx context.Context) (list []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	got, err := s.cli.ImageList(ctx, client.ImageListOptions{Filters: make(client.Filters).Add("reference", "ipdc/cid")})
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	for _, img := range got.Items {
		for _, tag := range img.RepoTags {
			if c, ok := strings.CutPrefix(tag, "ipdc/cid:"); ok {
				list = append(list, c)
			}
		}
	}
	slices.Sort(list)
	return list, nil
}
