package sidecar_test

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"

	"github.com/ipdc/ipdc/images"
	"github.com/ipdc/ipdc/jobspec"
)

// carried is an image store that can write its one image, and has it only once
// it was loaded.
type carried struct {
	fixedImages
	mu     sync.Mutex
	loaded string
}

const archive = "an archive of the image"

func (c *carried) Save(_ context.Context, _ jobspec.ImageID, w io.Writer) error {
	_, err := io.WriteString(w, archive)
	return err
}

func (c *carried) Load(ctx context.Context, r io.Reader, _ string) (jobspec.ImageID, error) {
	b, err := io.ReadAll(r)
	c.mu.Lock()
	c.loaded = string(b)
	c.mu.Unlock()
	return imageID, err
}

func (c *carried) Resolve(ctx context.Context, ref string) (images.Image, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.loaded != archive {
		return images.Image{}, jobspec.KindImageRef.Errorf("no image %s", ref)
	}
	return c.fixedImages.Resolve(ctx, ref)
}

// A member that lacks the image gets it from the owner, by CID.
func TestImageTravels(t *testing.T) {
	f := newFleet(t, 2)
	there := &carried{}
	f.nodes[0].imgs = &carried{loaded: archive}
	f.nodes[1].imgs = there
	f.nodes[0].restart()
	f.nodes[1].restart()
	root, files := f.dataset(2)
	j := f.nodes[0].final(f.nodes[0].submit(perItem(root, files)))
	if j.State != jobspec.JobSucceeded || j.Result.String() != root {
		t.Fatalf("job is %s with %s, want succeeded with %s: %+v", j.State, j.Result, root, j.Failure)
	}
	if there.loaded != archive {
		t.Errorf("the other node loaded %q, want the owner's archive", there.loaded)
	}
	workers := map[string]bool{}
	for _, a := range j.Attempts {
		workers[a.Node] = true
	}
	if len(workers) != 2 {
		t.Errorf("%d nodes worked, want 2", len(workers))
	}
}

// An image that cannot be sent keeps no task: it runs where the image is.
func TestImageCannotTravel(t *testing.T) {
	f := newFleet(t, 2)
	f.nodes[0].imgs = unsaved{&carried{loaded: archive}}
	f.nodes[1].imgs = &carried{}
	f.nodes[0].restart()
	f.nodes[1].restart()
	root, files := f.dataset(2)
	j := f.nodes[0].final(f.nodes[0].submit(perItem(root, files)))
	if j.State != jobspec.JobSucceeded || j.Result.String() != root {
		t.Fatalf("job is %s with %s, want succeeded with %s: %+v", j.State, j.Result, root, j.Failure)
	}
	for _, a := range j.Attempts {
		if a.Receipt == nil || a.Node != f.nodes[0].key.ID().String() {
			t.Errorf("attempt %s of %s is %s, want one of the owner with a receipt", a.ID, a.Node, a.State)
		}
	}
}

// unsaved has an image and cannot write it.
type unsaved struct{ *carried }

func (unsaved) Save(context.Context, jobspec.ImageID, io.Writer) error {
	return errors.New("the engine has no room for an archive")
}

// A member that lacks the image says so to an owner that was restarted since it
// asked: the archive is made then.
func TestImageTravelsAfterARestart(t *testing.T) {
	f := newFleet(t, 2)
	owner, member := f.nodes[0], f.nodes[1]
	owner.imgs = &carried{loaded: archive}
	there := &carried{}
	asked, answer := make(chan struct{}), make(chan struct{})
	member.imgs = &late{carried: there, asked: asked, answer: answer}
	owner.restart()
	member.restart()
	root, files := f.dataset(2)
	s := partOf(root, files, 1)
	id := owner.submit(s)
	<-asked
	owner.stop()
	close(answer)
	owner.start()
	if j := owner.final(id); j.State != jobspec.JobSucceeded || j.Attempts[0].Node != member.key.ID().String() {
		t.Fatalf("job is %s: %+v, attempts %+v, want succeeded at the member", j.State, j.Failure, j.Attempts)
	}
	if there.loaded != archive {
		t.Errorf("the member loaded %q, want the owner's archive", there.loaded)
	}
}

// late is carried that answers its first question when it may.
type late struct {
	*carried
	once          sync.Once
	asked, answer chan struct{}
}

func (l *late) Resolve(ctx context.Context, ref string) (images.Image, error) {
	l.once.Do(func() {
		close(l.asked)
		<-l.answer
	})
	return l.carried.Resolve(ctx, ref)
}
