package sidecar

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ipdc/ipdc/images"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/sidecar/room"
	"github.com/ipdc/ipdc/wire"
)

// noteEvery is how often a job's history tells how far its image is.
const noteEvery = 10 * time.Second

// bringImages makes the images of all stages local.
func (d *driver) bringImages(ctx context.Context, job jobspec.Job) ([]images.Image, error) {
	var imgs []images.Image
	for _, st := range stagesOf(job) {
		img, err := d.bringImage(ctx, st.Spec.Run.Image)
		if err != nil {
			return nil, st.at(err)
		}
		imgs = append(imgs, img)
	}
	return imgs, nil
}

// bringImage makes an image of the job local before the job takes one of the few
// places for preparing: a slow registry or engine holds up its own jobs only.
// The image is returned when it was here already.
func (d *driver) bringImage(ctx context.Context, ref string) (img images.Image, err error) {
	err = d.patiently(ctx, func() error {
		img, err = d.cfg.Images.Resolve(ctx, ref)
		return err
	})
	if !errors.Is(err, jobspec.KindImageRef.Error()) {
		return img, at("run.image", err)
	}
	return images.Image{}, d.bringMissing(ctx, ref)
}

func (d *driver) bringMissing(ctx context.Context, ref string) error {
	if c, err := jobspec.ParseCID(ref); err == nil {
		if err := d.cfg.IPFS.Pin(ctx, pinName(d.id, "image/"+c.String()), c); err != nil {
			return at("run.image", err)
		}
	}
	defer d.tellPull("")
	return at("run.image", d.pullImage(ctx, ref))
}

// pullTries is how often a registry that stalls is asked.
const pullTries = 3

// pullImage fetches an image and tells the job's followers how far it is.
func (d *driver) pullImage(ctx context.Context, ref string) error {
	var told time.Time
	_, err := d.fetchImage(ctx, ref, func(done, total int64) {
		why := fmt.Sprintf("waits for image %s: %d of %d MB are here", ref, done/1e6, total/1e6)
		d.tellPull(why)
		if d.now().Sub(told) >= noteEvery {
			told = d.now()
			d.note(ctx, jobspec.Event{Job: d.id, Type: jobspec.EventWait, Detail: why})
		}
	})
	return err
}

// tellPull keeps the sentence for the API.
func (d *driver) tellPull(why string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waiting = why
}

// fetchImage makes an image local from where its reference says. A registry that
// stalls is asked again.
func (s *Sidecar) fetchImage(ctx context.Context, ref string, progress images.Progress) (images.Image, error) {
	if c, err := jobspec.ParseCID(ref); err == nil {
		return s.loadImage(ctx, c)
	}
	for tries := 1; ; tries++ {
		img, err := s.cfg.Images.Pull(ctx, ref, progress)
		if tries == pullTries || ctx.Err() != nil || !errors.Is(err, jobspec.KindPullStall.Error()) {
			return img, err
		}
		s.log.Warn("pull image", "image", ref, "try", tries, "err", err)
		pause(ctx, tries)
	}
}

var errNotRead = errors.New("the rest of the archive is not read")

// loadImage loads the archive behind a CID, once. The store checks it as any
// other that comes from outside.
func (s *Sidecar) loadImage(ctx context.Context, archive jobspec.CID) (images.Image, error) {
	unlock, err := s.loading.Lock(ctx, archive.String())
	if err != nil {
		return images.Image{}, err
	}
	defer unlock()
	img, err := s.cfg.Images.Resolve(ctx, archive.String())
	if !errors.Is(err, jobspec.KindImageRef.Error()) {
		return img, err
	}
	pr, pw := io.Pipe()
	var g errgroup.Group
	g.Go(func() error {
		_, err := tree.Copy(ctx, s.cfg.IPFS, archive, pw, ipfs.Budget{})
		pw.CloseWithError(err)
		return err
	})
	_, loadErr := s.cfg.Images.Load(ctx, pr, images.CIDTag(archive))
	pr.CloseWithError(errNotRead)
	if err := g.Wait(); err != nil && !errors.Is(err, errNotRead) {
		return images.Image{}, fmt.Errorf("read image archive %s: %w", archive, err)
	}
	if loadErr != nil {
		return images.Image{}, loadErr
	}
	return s.cfg.Images.Resolve(ctx, archive.String())
}

// PullImage makes an image local.
func (s *Sidecar) PullImage(ctx context.Context, ref string, progress func(done, total int64)) (wire.Image, error) {
	if err := s.cfg.Admit(ctx); err != nil {
		return wire.Image{}, err
	}
	img, err := s.fetchImage(ctx, ref, progress)
	return wireImage(img), err
}

// PushImage stores the archive of a local image, pins it for a tenant, and
// remembers whose archive it is, so that it is not loaded again here.
func (s *Sidecar) PushImage(ctx context.Context, tenant, ref string) (wire.PushedImage, error) {
	if err := s.cfg.Admit(ctx); err != nil {
		return wire.PushedImage{}, err
	}
	img, err := s.cfg.Images.Resolve(ctx, ref)
	if err != nil {
		return wire.PushedImage{}, err
	}
	p := wire.PushedImage{Image: wireImage(img)}
	hold := "upload/" + rand.Text() // what a crash leaves of it, the API drops
	p.CID, err = s.cfg.IPFS.Add(ctx, hold, func(w ipfs.Session) (jobspec.CID, error) {
		c, n, err := s.packImage(ctx, w, img.ID)
		p.Bytes = jobspec.Bytes(n)
		return c, err
	})
	if err != nil {
		return wire.PushedImage{}, err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		if err := s.cfg.IPFS.Unpin(ctx, hold); err != nil {
			s.log.Warn("unpin", "pin", hold, "err", err)
		}
	}()
	if err := s.cfg.IPFS.Pin(ctx, api.UserPin(tenant, p.CID), p.CID); err != nil {
		return wire.PushedImage{}, err
	}
	return p, s.cfg.Images.Tag(ctx, img.ID, images.CIDTag(p.CID))
}

// packImage makes a file of the image's archive.
func (s *Sidecar) packImage(ctx context.Context, w ipfs.Session, id jobspec.ImageID) (c jobspec.CID, n int64, err error) {
	pr, pw := io.Pipe()
	var g errgroup.Group
	g.Go(func() error {
		err := s.cfg.Images.Save(ctx, id, pw)
		pw.CloseWithError(err)
		return err
	})
	c, n, packErr := pack.File(ctx, w, room.Reader(pr, func() error { return s.cfg.Check(ctx) }))
	pr.CloseWithError(errNotRead)
	if err := g.Wait(); err != nil && !errors.Is(err, errNotRead) {
		return c, n, err
	}
	return c, n, packErr
}

// archiveImage stores an archive of the task's image, once for all tasks of the
// job.
func (c *course) archiveImage(ctx context.Context) (jobspec.CID, error) {
	pin := pinName(c.id, "archive/"+c.plan.Image.String())
	unlock, err := c.loading.Lock(ctx, pin)
	if err != nil {
		return jobspec.CID{}, err
	}
	defer unlock()
	pins, err := c.cfg.IPFS.Pins(ctx, pin)
	if err != nil {
		return jobspec.CID{}, err
	}
	if len(pins) > 0 {
		return pins[0].Root, nil
	}
	return c.cfg.IPFS.Add(ctx, pin, func(w ipfs.Session) (jobspec.CID, error) {
		root, _, err := c.packImage(ctx, w, c.plan.Image)
		return root, err
	})
}

// RemoveImage takes a name away from an image.
func (s *Sidecar) RemoveImage(ctx context.Context, ref string) (wire.Image, error) {
	img, err := s.cfg.Images.Remove(ctx, ref)
	return wireImage(img), err
}

func wireImage(img images.Image) wire.Image {
	return wire.Image{ID: img.ID, Ref: img.Ref, Arch: img.Arch, Size: jobspec.Bytes(img.Size)}
}
