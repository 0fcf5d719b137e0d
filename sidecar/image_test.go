package sidecar_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/images"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
)

// emptyImages has no image until one is pulled or loaded.
type emptyImages struct {
	fixedImages
	release chan struct{} // closed by the test; pulls wait for it

	mu     sync.Mutex
	here   map[string]bool
	loads  int
	pulls  int
	stalls int    // pulls that are to stall first
	loaded string // the last archive
}

func newEmptyImages() *emptyImages {
	return &emptyImages{here: map[string]bool{}, release: make(chan struct{})}
}

func (e *emptyImages) Resolve(ctx context.Context, ref string) (images.Image, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if c, err := jobspec.ParseCID(ref); err == nil {
		ref = images.CIDTag(c)
	}
	if !e.here[ref] && ref != "any" {
		return images.Image{}, jobspec.KindImageRef.Errorf("no image %s", ref)
	}
	return e.fixedImages.Resolve(ctx, ref)
}

func (e *emptyImages) Pull(ctx context.Context, ref string, progress images.Progress) (images.Image, error) {
	progress(3e6, 12e6)
	select {
	case <-e.release:
	case <-ctx.Done():
		return images.Image{}, context.Cause(ctx)
	}
	e.mu.Lock()
	e.pulls++
	stalls := e.pulls <= e.stalls
	e.here[ref] = !stalls
	e.mu.Unlock()
	if stalls {
		return images.Image{}, jobspec.KindPullStall.Errorf("nothing comes")
	}
	return e.Resolve(ctx, ref)
}

func (e *emptyImages) Load(_ context.Context, archive io.Reader, tag string) (jobspec.ImageID, error) {
	b, err := io.ReadAll(archive)
	if err != nil {
		return "", errors.New("the archive was cut")
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.here[tag], e.loaded = true, string(b)
	e.loads++
	return imageID, nil
}

// While images come, their jobs say how far they are and can be stopped, and
// other jobs are prepared, however many wait.
func TestPullingHoldsUpNobodyElse(t *testing.T) {
	imgs := newEmptyImages()
	b := newBenchWith(t, imgs)
	far := spec("DUMMY_STDOUT=far")
	far.Run.Image = "registry.example/far:1"
	var waiting []string
	for range 12 {
		waiting = append(waiting, b.submit(far))
	}
	if j := b.final(b.submit(spec())); j.State != jobspec.JobSucceeded {
		t.Errorf("a job with a local image = %s, %+v", j.State, j.Failure)
	}
	deadline := time.Now().Add(2 * time.Minute)
	for told := ""; !strings.Contains(told, "3 of 12 MB"); {
		j, err := b.Job(t.Context(), "t", waiting[0])
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("waiting = %q, %v, want how much of the image is here", told, err)
		}
		told = j.Waiting
	}
	if _, err := b.Stop(t.Context(), "t", waiting[1]); err != nil {
		t.Fatal(err)
	}
	if j := b.final(waiting[1]); j.State != jobspec.JobStopped {
		t.Errorf("a job that was stopped while its image came = %s", j.State)
	}
	close(imgs.release)
	if j := b.final(waiting[0]); j.State != jobspec.JobSucceeded || j.Waiting != "" {
		t.Errorf("job = %s %+v, waiting %q, want success", j.State, j.Failure, j.Waiting)
	}
}

// An archive behind a CID is loaded once for any number of jobs.
func TestImageByCIDIsLoadedOnce(t *testing.T) {
	imgs := newEmptyImages()
	b := newBenchWith(t, imgs)
	c, err := b.ipfs.Add(t.Context(), "user/image", func(s ipfs.Session) (jobspec.CID, error) {
		c, _, err := pack.File(t.Context(), s, strings.NewReader("an archive"))
		return c, err
	})
	if err != nil {
		t.Fatal(err)
	}
	byCID := spec()
	byCID.Run.Image = c.String()
	var ids []string
	for range 5 {
		ids = append(ids, b.submit(byCID))
	}
	for _, id := range ids {
		if j := b.final(id); j.State != jobspec.JobSucceeded {
			t.Errorf("job = %s %+v", j.State, j.Failure)
		}
	}
	if imgs.loads != 1 || imgs.loaded != "an archive" {
		t.Errorf("%d loads, the last of %q, want one of the archive", imgs.loads, imgs.loaded)
	}
	b.nothingLeft(ids[0])

	dir := spec()
	dir.Run.Image = b.input("a")
	if j := b.final(b.submit(dir)); j.State != jobspec.JobFailed || j.Failure.Where != "run.image" {
		t.Errorf("a directory as an image = %s %+v, want a failure at run.image", j.State, j.Failure)
	}
}

// A registry that stalls is asked again, but not for ever. (M16)
func TestM16PullIsTriedAgain(t *testing.T) {
	t.Parallel()
	imgs := newEmptyImages()
	close(imgs.release)
	b := newBenchWith(t, imgs)
	far := spec()
	far.Run.Image = "registry.example/far:1"
	imgs.stalls = 1
	if j := b.final(b.submit(far)); j.State != jobspec.JobSucceeded || imgs.pulls != 2 {
		t.Errorf("job = %s %+v after %d pulls, want success after 2", j.State, j.Failure, imgs.pulls)
	}
	far.Run.Image = "registry.example/far:2"
	imgs.stalls, imgs.pulls = 100, 0
	if j := b.final(b.submit(far)); j.State != jobspec.JobFailed || j.Failure.Kind != jobspec.KindPullStall || imgs.pulls != 3 {
		t.Errorf("job = %s %+v after %d pulls, want E_PULL_STALL after 3", j.State, j.Failure, imgs.pulls)
	}
	imgs.stalls, imgs.pulls = 2, 0
	img, err := b.PullImage(t.Context(), "registry.example/far:3", func(int64, int64) {})
	if err != nil || img.Ref != "registry.example/far:3" || imgs.pulls != 3 {
		t.Errorf("PullImage = %+v, %v after %d pulls, want success after 3", img, err, imgs.pulls)
	}
}

// An image that goes between plan and start is brought back once. (M19)
func TestM19ImageThatIsGoneIsBroughtBack(t *testing.T) {
	imgs := newEmptyImages()
	close(imgs.release)
	b := newBenchWith(t, imgs)
	for _, c := range []struct {
		losses int
		want   jobspec.JobState
	}{{1, jobspec.JobSucceeded}, {2, jobspec.JobFailed}} {
		thief := &imageThief{imgs: imgs, losses: c.losses}
		b.wrap = func(ex executor.Executor) executor.Executor { thief.Executor = ex; return thief }
		b.restart()
		imgs.pulls = 0
		far := spec()
		far.Run.Image = "registry.example/far:1"
		far.Cache = jobspec.CacheOff
		j := b.final(b.submit(far))
		if j.State != c.want || j.Failure != nil && j.Failure.Kind != jobspec.KindImageGone {
			t.Errorf("with %d losses: job = %s %+v, want %s", c.losses, j.State, j.Failure, c.want)
		}
		imgs.here = map[string]bool{}
	}
}

// imageThief takes the images away before some containers are made.
type imageThief struct {
	executor.Executor
	imgs   *emptyImages
	losses int
}

func (s *imageThief) Create(ctx context.Context, t executor.Task) (executor.ID, error) {
	s.imgs.mu.Lock()
	defer s.imgs.mu.Unlock()
	if s.losses > 0 {
		s.losses--
		s.imgs.here = map[string]bool{}
		return "", jobspec.KindImageGone.Errorf("it is gone")
	}
	return s.Executor.Create(ctx, t)
}

// bootingImages are those of an engine that answers after some attempts.
type bootingImages struct {
	*emptyImages
	away atomic.Int64 // attempts that find no engine
	err  error        // what they find
}

func (b *bootingImages) Resolve(ctx context.Context, ref string) (images.Image, error) {
	if b.away.Add(-1) >= 0 {
		return images.Image{}, b.err
	}
	return b.emptyImages.Resolve(ctx, ref)
}

func noEngine() error {
	return fmt.Errorf("%w: %w: it does not answer", jobspec.Failure{Kind: jobspec.KindPolicy, Hint: "start it"}.Error(), executor.ErrNoEngine)
}

// A node is often up before its engine: jobs wait for that, and then have
// their image pulled.
func TestEngineIsSlowerThanTheNode(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{"no engine": noEngine(), "other trouble": errors.New("connection refused")} {
		imgs := &bootingImages{emptyImages: newEmptyImages(), err: err}
		imgs.away.Store(2)
		close(imgs.release)
		b := newBenchWith(t, imgs)
		s := spec("DUMMY_WRITE=/outputs/a:x")
		s.Run.Image = "new:1"
		if j := b.final(b.submit(s)); j.State != jobspec.JobSucceeded {
			t.Errorf("%s: job = %s %+v, want success once the engine answers", name, j.State, j.Failure)
		}
	}
}

// Who waits for the engine keeps no other job from being prepared, and sees
// why it waits.
func TestEngineThatStaysAway(t *testing.T) {
	imgs := &bootingImages{emptyImages: newEmptyImages(), err: noEngine()}
	imgs.away.Store(1 << 40)
	b := newBenchWith(t, imgs)
	if _, err := b.Plan(t.Context(), api.Submission{Tenant: "t", Spec: spec()}); jobspec.AsFailure(err).Kind != jobspec.KindPolicy {
		t.Errorf("Plan = %v, want E_POLICY at once", err)
	}
	var ids []string
	for range 9 { // one more than are prepared at a time
		ids = append(ids, b.submit(spec("DUMMY_WRITE=/outputs/a:x")))
	}
	for _, id := range ids {
		for said := ""; !strings.Contains(said, "does not answer"); {
			j, err := b.Job(t.Context(), "t", id)
			if err != nil || j.State != jobspec.JobAccepted {
				t.Fatalf("job = %s %+v, %v, want it to wait", j.State, j.Failure, err)
			}
			said = j.Waiting
			runtime.Gosched()
		}
	}
	b.stop()
	b.patience = time.Millisecond
	b.start()
	for _, id := range ids {
		j := b.final(id)
		if f := j.Failure; j.State != jobspec.JobFailed || f.Kind != jobspec.KindPolicy || f.Where != "run.image" ||
			!strings.Contains(f.Detail, "no container engine") || f.Hint != "start it" {
			t.Errorf("job = %s %+v, want E_POLICY with the reason and the hint", j.State, f)
		}
	}
}
