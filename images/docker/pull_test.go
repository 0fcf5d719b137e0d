package docker_test

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/ipdc/ipdc/images/docker"
	"github.com/ipdc/ipdc/internal/refusal"
	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/jobspec"
)

func TestPull(t *testing.T) {
	r := newRegistry(t)
	e := openEngine(t, docker.Config{Registries: []string{r.host}})
	mine, other := randomImage(t, runtime.GOARCH), randomImage(t, "s390x")
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: other, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "s390x"}}},
		mutate.IndexAddendum{Add: mine, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: runtime.GOARCH}}})
	ref := r.pushIndex(t, "ipdc-test/pull:1", index)
	e.removeAfter(t, image{id: configDigest(t, mine).Hex})

	var last, of int64
	got, err := e.Pull(t.Context(), ref, func(done, total int64) { last, of = done, total })
	if err != nil || got.ID.String() != configDigest(t, mine).String() || got.Arch != runtime.GOARCH {
		t.Fatalf("Pull(%s) = %+v, %v, want the config digest of this architecture's image %s", ref, got, err, configDigest(t, mine))
	}
	if layersOf(t, mine) != of || last < of {
		t.Errorf("progress ended at %d of %d, want all of %d", last, of, layersOf(t, mine))
	}
	asked := r.asked.Load()
	if again, err := e.Pull(t.Context(), ref, nil); err != nil || again.ID != got.ID || r.asked.Load() != asked {
		t.Errorf("Pull of what is there = %+v, %v after %d more questions, want none", again, err, r.asked.Load()-asked)
	}

	t.Run("by digest", func(t *testing.T) {
		digest, err := mine.Digest()
		if err != nil {
			t.Fatal(err)
		}
		exact := r.host + "/ipdc-test/pull@" + digest.String()
		for range 2 { // the second time nobody is asked
			if got, err := e.Pull(t.Context(), exact, nil); err != nil || got.ID.String() != configDigest(t, mine).String() {
				t.Errorf("Pull(%s) = %s, %v, want %s", exact, got.ID, err, configDigest(t, mine))
			}
			r.srv.Close()
		}
	})
}

// Ten jobs that want one image fetch it once.
func TestPullOnce(t *testing.T) {
	r := newRegistry(t)
	e := openEngine(t, docker.Config{Registries: []string{r.host}})
	img := randomImage(t, runtime.GOARCH)
	ref := r.push(t, "ipdc-test/once:1", img)
	e.removeAfter(t, image{id: configDigest(t, img).Hex})
	r.blobs.Store(0)
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if _, err := e.Pull(t.Context(), ref, nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := r.blobs.Load(); n != 3 {
		t.Errorf("%d blobs were fetched, want the config and two layers", n)
	}
}

// No reference leads the node to a registry that is not on its list (M03), and
// no short or stock name anywhere.
func TestM03PullRefusesRegistries(t *testing.T) {
	r := newRegistry(t)
	img := randomImage(t, runtime.GOARCH)
	r.push(t, "ipdc-test/refused:1", img)
	e := openEngine(t, docker.Config{})
	for _, ref := range []string{
		r.host + "/ipdc-test/refused:1", "localhost:5000/a:1", "[::1]:5000/a:1", "10.0.0.1/a:1", "169.254.169.254/a:1", "registry.example/a:1",
		r.host + "/ipdc-test/refused@sha256:" + strings.Repeat("0", 64),
	} {
		if _, err := e.Pull(t.Context(), ref, nil); jobspec.AsFailure(err).Kind != jobspec.KindPolicy || !strings.Contains(jobspec.AsFailure(err).Hint, "registries") {
			t.Errorf("Pull(%s) = %v, want E_POLICY that names the setting", ref, err)
		}
	}
	for _, ref := range []string{"ipdc/python:000000000000", "docker.io/ipdc/x:1", "sha256:" + strings.Repeat("0", 64), "a@b:c", "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"} {
		if _, err := e.Pull(t.Context(), ref, nil); jobspec.AsFailure(err).Kind != jobspec.KindImageRef {
			t.Errorf("Pull(%s) = %v, want E_IMAGE_REF", ref, err)
		}
	}
	if n := r.asked.Load(); n != r.pushed {
		t.Errorf("the registry was asked %d times", n-r.pushed)
	}
}

// What a hostile or broken registry does ends in a refusal of the right kind,
// and the engine has no new image.
func TestPullFromHostileRegistry(t *testing.T) {
	refusal.Produces(t, jobspec.KindPullStall)
	testenv.Docker(t)
	elsewhere := newRegistry(t)
	for name, tc := range map[string]struct {
		want    jobspec.Kind
		layer   func(http.ResponseWriter, *http.Request) // answers for the first layer
		front   func(http.ResponseWriter, *http.Request) // answers for everything
		img     func(t *testing.T) v1.Image
		limit   int64
		unasked bool // no layer may be fetched
	}{
		"F63 not there":       {want: jobspec.KindImageRef, front: status(http.StatusNotFound)},
		"private":             {want: jobspec.KindImageRef, front: status(http.StatusForbidden)},
		"F63 registry broken": {want: jobspec.KindPullStall, front: status(http.StatusNotImplemented)},
		"other bytes":         {want: jobspec.KindImageRef, layer: func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, 100)) }},
		"endless layer": {want: jobspec.KindImageRef, layer: func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		}},
		"F63 cut layer": {want: jobspec.KindPullStall, layer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100000")
			w.Write(make([]byte, 100))
		}},
		"M16 silent layer": {want: jobspec.KindPullStall, layer: silent},
		"M16 F63 silent":   {want: jobspec.KindPullStall, front: silent},
		"M16 slow drip": {want: jobspec.KindPullStall, layer: func(w http.ResponseWriter, r *http.Request) {
			for tick := time.NewTicker(10 * time.Millisecond); ; {
				select {
				case <-tick.C:
					w.Write([]byte{0})
					http.NewResponseController(w).Flush()
				case <-r.Context().Done():
					return
				}
			}
		}},
		"M17 redirect to another host": {want: jobspec.KindPolicy, layer: redirect("http://" + elsewhere.host + "/x")},
		"M17 redirect to metadata":     {want: jobspec.KindPolicy, layer: redirect("http://169.254.169.254/latest")},
		"redirect to private":          {want: jobspec.KindPolicy, layer: redirect("https://10.0.0.1/x")},
		"redirect to reserved":         {want: jobspec.KindPolicy, layer: redirect("https://192.0.0.192/x")},
		"redirect to a tunnel":         {want: jobspec.KindPolicy, layer: redirect("https://[2001::7f00:1]/x")},
		"redirect in a circle":         {want: jobspec.KindPullStall, layer: func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) }},
		"M17 token from another host": {want: jobspec.KindPolicy, front: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+elsewhere.host+`/token",service="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		}},
		"endless manifest": {want: jobspec.KindLimitBytes, front: func(w http.ResponseWriter, r *http.Request) {
			if !strings.Contains(r.URL.Path, "/manifests/") {
				return
			}
			for r.Context().Err() == nil {
				if _, err := w.Write(slices.Repeat([]byte(" "), 64<<10)); err != nil {
					return
				}
			}
		}},
		"M13 announces too much": {want: jobspec.KindLimitBytes, limit: 1000, unasked: true},
		"M13 unpacks to too much": {want: jobspec.KindLimitBytes, limit: 1 << 20, img: func(t *testing.T) v1.Image {
			return imageOf(t, runtime.GOARCH, gzipOf(t, tarOf(t, entry{name: "zeros", data: make([]byte, 2<<20)})))
		}},
		"another architecture": {want: jobspec.KindImageRun, unasked: true, img: func(t *testing.T) v1.Image { return randomImage(t, "s390x") }},
		"another compression":  {want: jobspec.KindImageRef, unasked: true, img: zstdImage},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRegistry(t)
			img := randomImage(t, runtime.GOARCH)
			if tc.img != nil {
				img = tc.img(t)
			}
			ref := r.push(t, "ipdc-test/hostile:1", img)
			r.layer, r.front = tc.layer, tc.front
			stall := time.Minute
			if tc.want == jobspec.KindPullStall {
				stall = 300 * time.Millisecond
			}
			e := openEngine(t, docker.Config{Registries: []string{r.host}, MaxArchive: tc.limit, PullStall: stall})
			e.removeAfter(t, image{id: configDigest(t, img).Hex})
			r.blobs.Store(0)
			_, err := e.Pull(t.Context(), ref, nil)
			if !refusal.Is(t, err, tc.want) || jobspec.AsFailure(err).Detail == "" {
				t.Errorf("Pull = %v, want %s", err, tc.want)
			}
			if e.has(t, configDigest(t, img).String()) {
				t.Error("the engine has the image")
			}
			if n := r.blobs.Load(); tc.unasked && n > 1 {
				t.Errorf("%d blobs were fetched, want the config at most", n)
			}
			if n := r.sent.Load(); n > 32<<20 {
				t.Errorf("%d bytes were taken", n)
			}
		})
	}
	if n := elsewhere.asked.Load(); n != 0 {
		t.Errorf("another host was asked %d times", n)
	}

	t.Run("F63 registry down", func(t *testing.T) {
		r := newRegistry(t)
		e := openEngine(t, docker.Config{Registries: []string{r.host}, PullStall: time.Minute})
		img := randomImage(t, runtime.GOARCH)
		ref := r.push(t, "ipdc-test/down:1", img)
		e.removeAfter(t, image{id: configDigest(t, img).Hex})
		first := firstLayer(t, img)
		var down atomic.Bool
		down.Store(true)
		r.layer = func(w http.ResponseWriter, _ *http.Request) {
			if down.Load() {
				panic(http.ErrAbortHandler)
			}
			w.Write(first)
		}
		if _, err := e.Pull(t.Context(), ref, nil); jobspec.AsFailure(err).Kind != jobspec.KindPullStall {
			t.Errorf("Pull that is interrupted = %v, want E_PULL_STALL", err)
		}
		down.Store(false)
		if _, err := e.Pull(t.Context(), ref, nil); err != nil {
			t.Errorf("Pull again = %v", err)
		}
		r.srv.Close()
		if _, err := e.Pull(t.Context(), r.host+"/ipdc-test/other:1", nil); jobspec.AsFailure(err).Kind != jobspec.KindPullStall {
			t.Errorf("Pull from a registry that is down = %v, want E_PULL_STALL", err)
		}
	})

	t.Run("control: to a configured host", func(t *testing.T) {
		r := newRegistry(t)
		img := randomImage(t, runtime.GOARCH)
		ref := r.push(t, "ipdc-test/hostile:1", img)
		elsewhere.push(t, "ipdc-test/hostile:1", img)
		r.layer = func(w http.ResponseWriter, req *http.Request) {
			http.Redirect(w, req, "http://"+elsewhere.host+req.URL.Path, http.StatusFound)
		}
		e := openEngine(t, docker.Config{Registries: []string{r.host, elsewhere.host}})
		e.removeAfter(t, image{id: configDigest(t, img).Hex})
		if _, err := e.Pull(t.Context(), ref, nil); err != nil {
			t.Errorf("Pull = %v", err)
		}
	})
}

func TestPullCancelled(t *testing.T) {
	r := newRegistry(t)
	img := randomImage(t, runtime.GOARCH)
	ref := r.push(t, "ipdc-test/cancelled:1", img)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("stopped")
	r.layer = func(w http.ResponseWriter, req *http.Request) {
		cancel(why)
		<-req.Context().Done()
	}
	e := openEngine(t, docker.Config{Registries: []string{r.host}})
	e.removeAfter(t, image{id: configDigest(t, img).Hex})
	if _, err := e.Pull(ctx, ref, nil); !errors.Is(err, why) {
		t.Errorf("Pull = %v, want the cause of its context", err)
	}
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func silent(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func redirect(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) }
}

var _ http.ResponseWriter = countingWriter{}

// countingWriter counts what a registry sends.
type countingWriter struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (w countingWriter) Write(b []byte) (int, error) {
	n, err := w.ResponseWriter.Write(b)
	w.n.Add(int64(n))
	return n, err
}

func (w countingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
