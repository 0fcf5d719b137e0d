package docker_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/moby/moby/client"

	"github.com/ipdc/ipdc/jobspec"
)

// probe is the program of all test images, built once.
var probe = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "probe")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "probe")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", out, "./testdata/probe")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the probe: %w: %s", err, text)
	}
	return os.ReadFile(out)
})

// file is an entry of a test image.
type file struct {
	mode    int64
	content []byte
}

// probeImage returns the image of the probe. It stays on the engine, as the
// next run needs it again; those of earlier probes go.
func probeImage(t *testing.T, api *client.Client) jobspec.ImageID {
	t.Helper()
	id := loadImage(t, api, "probe", nil, v1.ConfigFile{Architecture: runtime.GOARCH})
	old, err := api.ImageList(t.Context(), client.ImageListOptions{Filters: make(client.Filters).Add("reference", "ipdc-test/probe")})
	if err != nil {
		t.Fatal(err)
	}
	for _, img := range old.Items {
		if img.ID != id.String() {
			// Another run may be using it, which then is the one to remove it.
			_, err := api.ImageRemove(t.Context(), img.ID, client.ImageRemoveOptions{})
			if err != nil {
				t.Logf("keep the earlier probe %s: %v", img.ID, err)
			}
		}
	}
	return id
}

// badImage returns an image with the probe and what else is given, and
// removes it after the test.
func badImage(t *testing.T, api *client.Client, files map[string]file, cfg v1.ConfigFile) jobspec.ImageID {
	t.Helper()
	if cfg.Architecture == "" {
		cfg.Architecture = runtime.GOARCH
	}
	id := loadImage(t, api, "bad", files, cfg)
	t.Cleanup(func() {
		if _, err := api.ImageRemove(bounded(t), id.String(), client.ImageRemoveOptions{Force: true}); err != nil {
			t.Errorf("remove image: %v", err)
		}
	})
	return id
}

func loadImage(t *testing.T, api *client.Client, repo string, files map[string]file, cfg v1.ConfigFile) jobspec.ImageID {
	t.Helper()
	program, err := probe()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]file{"probe": {0o755, program}, "suid": {0o4755, program}}
	maps.Copy(all, files)
	// Not compressed: under the race detector that takes seconds for each test.
	layer := static.NewLayer(archive(all), types.DockerUncompressedLayer)
	cfg.OS = "linux"
	img, err := mutate.ConfigFile(empty.Image, &cfg)
	if err == nil {
		img, err = mutate.AppendLayers(img, layer)
	}
	if err != nil {
		t.Fatal(err)
	}
	id, err := img.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := api.ImageInspect(t.Context(), id.String()); err != nil {
		load(t, api, img, fmt.Sprintf("ipdc-test/%s:%s", repo, id.Hex[:12]))
	}
	return jobspec.ImageID(id.String())
}

func load(t *testing.T, api *client.Client, img v1.Image, tag string) {
	t.Helper()
	ref, err := name.NewTag(tag)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := tarball.Write(ref, img, &b); err != nil {
		t.Fatal(err)
	}
	res, err := api.ImageLoad(t.Context(), &b, client.ImageLoadWithQuiet(true))
	if err != nil {
		t.Fatalf("load image: %v", err)
	}
	defer res.Close()
	if out, err := io.ReadAll(res); err != nil || strings.Contains(string(out), "error") {
		t.Fatalf("load image: %s, %v", out, err)
	}
}

// archive is a layer with the same bytes for the same files.
func archive(files map[string]file) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, path := range slices.Sorted(maps.Keys(files)) {
		f := files[path]
		h := &tar.Header{Name: path, Mode: f.mode, Size: int64(len(f.content)), Typeflag: tar.TypeReg}
		if strings.HasSuffix(path, "/") {
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			panic(err)
		}
		if _, err := w.Write(f.content); err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func missingImage() jobspec.ImageID {
	return jobspec.ImageID(fmt.Sprintf("sha256:%x", sha256.Sum256([]byte("no such image"))))
}
