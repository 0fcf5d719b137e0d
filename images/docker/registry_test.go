package docker_test

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// registryServer is a real registry on the loopback address that can be told
// to misbehave.
type registryServer struct {
	host   string
	srv    *httptest.Server
	pushed int64 // requests until the last push had ended

	asked, blobs, sent atomic.Int64
	layer, front       func(http.ResponseWriter, *http.Request)
	first              string // path of the layer that layer answers for
}

func newRegistry(t *testing.T) *registryServer {
	t.Helper()
	r := &registryServer{}
	real := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	r.srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.asked.Add(1)
		if strings.Contains(req.URL.Path, "/blobs/sha256:") && req.Method == http.MethodGet {
			r.blobs.Add(1)
		}
		w = countingWriter{w, &r.sent}
		switch {
		case r.front != nil:
			r.front(w, req)
		case r.layer != nil && strings.HasSuffix(req.URL.Path, r.first):
			r.layer(w, req)
		default:
			real.ServeHTTP(w, req)
		}
	}))
	r.host = r.srv.Listener.Addr().String()
	t.Cleanup(r.srv.Close)
	return r
}

// push stores an image and returns its whole reference.
func (r *registryServer) push(t *testing.T, ref string, img v1.Image) string {
	t.Helper()
	r.write(t, ref, func(n name.Reference, o remote.Option) error { return remote.Write(n, img, o) })
	m, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	r.first = "/blobs/" + m.Layers[0].Digest.String()
	return r.host + "/" + ref
}

func (r *registryServer) pushIndex(t *testing.T, ref string, index v1.ImageIndex) string {
	t.Helper()
	r.write(t, ref, func(n name.Reference, o remote.Option) error { return remote.WriteIndex(n, index, o) })
	return r.host + "/" + ref
}

func (r *registryServer) write(t *testing.T, ref string, do func(name.Reference, remote.Option) error) {
	t.Helper()
	n, err := name.ParseReference(r.host + "/" + ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := do(n, remote.WithTransport(&http.Transport{DisableKeepAlives: true})); err != nil {
		t.Fatal(err)
	}
	r.pushed = r.asked.Load()
}

// randomImage has two layers that no other image has.
func randomImage(t *testing.T, arch string) v1.Image {
	t.Helper()
	img, err := random.Image(100<<10, 2)
	if err != nil {
		t.Fatal(err)
	}
	return forArch(t, img, arch)
}

// imageOf has one gzipped layer.
func imageOf(t *testing.T, arch string, layer []byte) v1.Image {
	t.Helper()
	img, err := mutate.AppendLayers(empty.Image, static.NewLayer(layer, types.DockerLayer))
	if err != nil {
		t.Fatal(err)
	}
	return forArch(t, img, arch)
}

func zstdImage(t *testing.T) v1.Image {
	t.Helper()
	img, err := mutate.AppendLayers(empty.Image, static.NewLayer([]byte("\x28\xb5\x2f\xfd"), types.OCILayerZStd))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func forArch(t *testing.T, img v1.Image, arch string) v1.Image {
	t.Helper()
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", arch
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	return img
}

func configDigest(t *testing.T, img v1.Image) v1.Hash {
	t.Helper()
	h, err := img.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func layersOf(t *testing.T, img v1.Image) (n int64) {
	t.Helper()
	m, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range m.Layers {
		n += l.Size
	}
	return n
}

// firstLayer is what a registry sends for the first layer of an image.
func firstLayer(t *testing.T, img v1.Image) []byte {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	r, err := layers[0].Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
