package docker_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/moby/moby/client"
	"go.uber.org/goleak"

	"github.com/ipdc/ipdc/images/docker"
	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/jobspec"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// engine is a real engine with a store under test and a client of its own to
// look behind it.
type engine struct {
	*docker.Store
	raw *client.Client
}

func openEngine(t *testing.T, cfg docker.Config) engine {
	t.Helper()
	cfg.Host = testenv.Docker(t)
	s, err := docker.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := client.New(client.WithHost(cfg.Host))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		raw.Close()
		s.Close()
	})
	return engine{s, raw}
}

// load loads the image under tag and removes it after the test.
func (e engine) load(t *testing.T, i image, tag string) string {
	t.Helper()
	e.removeAfter(t, i)
	id, err := e.Load(t.Context(), bytes.NewReader(tarOf(t, i.entries(t)...)), tag)
	if err != nil {
		t.Fatalf("Load(%s) = %v", tag, err)
	}
	if id.String() != "sha256:"+i.id {
		t.Fatalf("Load(%s) = %s, want the config digest sha256:%s", tag, id, i.id)
	}
	return id.String()
}

func (e engine) removeAfter(t *testing.T, imgs ...image) {
	t.Cleanup(func() {
		for _, i := range imgs {
			_, err := e.raw.ImageRemove(context.Background(), "sha256:"+i.id, client.ImageRemoveOptions{Force: true})
			if err != nil && !errdefs.IsNotFound(err) {
				t.Errorf("remove image: %v", err)
			}
		}
	})
}

func (e engine) remove(t *testing.T, i image) {
	t.Helper()
	if _, err := e.raw.ImageRemove(t.Context(), "sha256:"+i.id, client.ImageRemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
}

// save returns what Save writes.
func save(t *testing.T, e engine, id jobspec.ImageID) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := e.Save(t.Context(), id, &b); err != nil {
		t.Fatalf("Save(%s) = %v", id, err)
	}
	return b.Bytes()
}

func (e engine) has(t *testing.T, ref string) bool {
	t.Helper()
	_, err := e.raw.ImageInspect(t.Context(), ref)
	if err != nil && !errdefs.IsNotFound(err) {
		t.Fatal(err)
	}
	return err == nil
}

// rawLoad loads an archive as docker load does, without any check of ours.
func (e engine) rawLoad(t *testing.T, archive []byte) {
	t.Helper()
	res, err := e.raw.ImageLoad(t.Context(), bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Close()
	if _, err := io.Copy(io.Discard, res); err != nil {
		t.Fatal(err)
	}
}

// publish puts a new image into a registry and has the engine pull it. It
// returns the image's id and the digest that the registry knows it by.
func (e engine) publish(t *testing.T, host, repo, tag string) (id, digest string) {
	t.Helper()
	img, err := random.Image(64, 1)
	if err != nil {
		t.Fatal(err)
	}
	layers, err1 := img.Layers()
	config, err2 := img.RawConfigFile()
	manifest, err3 := img.RawManifest()
	m, err4 := img.Manifest()
	blob, err5 := layers[0].Compressed()
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		t.Fatal(err)
	}
	api := "http://" + host + "/v2/" + repo
	send(t, "POST", api+"/blobs/uploads/?digest="+m.Layers[0].Digest.String(), "", blob)
	send(t, "POST", api+"/blobs/uploads/?digest="+m.Config.Digest.String(), "", bytes.NewReader(config))
	send(t, "PUT", api+"/manifests/"+tag, string(m.MediaType), bytes.NewReader(manifest))
	pull, err := e.raw.ImagePull(t.Context(), host+"/"+repo+":"+tag, client.ImagePullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := pull.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	e.removeAfter(t, image{id: m.Config.Digest.Hex})
	sum := sha256.Sum256(manifest)
	return m.Config.Digest.String(), "sha256:" + hex.EncodeToString(sum[:])
}

func send(t *testing.T, method, url, mediaType string, body io.Reader) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", mediaType)
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		t.Fatalf("%s %s = %s, want 201", method, url, resp.Status)
	}
}

// fakeEngine answers as an engine without images, and counts how often it is
// asked for one.
func fakeEngine(t *testing.T, info string) (host string, asked *atomic.Int32) {
	t.Helper()
	asked = new(atomic.Int32)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("API-Version", "1.41")
		w.Header().Set("Content-Type", "application/json")
		switch {
		case strings.HasSuffix(r.URL.Path, "/info"):
			io.WriteString(w, info)
		case strings.HasSuffix(r.URL.Path, "/images/json"):
			io.WriteString(w, `[]`)
		case strings.Contains(r.URL.Path, "/images/"):
			asked.Add(1)
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, `{"message": "no such image"}`)
		}
	}))
	t.Cleanup(srv.Close)
	return "tcp://" + srv.Listener.Addr().String(), asked
}

// openFake opens a store on an engine without images.
func openFake(t *testing.T) (*docker.Store, *atomic.Int32) {
	t.Helper()
	host, asked := fakeEngine(t, `{}`)
	s, err := docker.Open(t.Context(), docker.Config{Host: host})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, asked
}
