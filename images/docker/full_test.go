package docker_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/moby/moby/client"

	"github.com/ipdc/ipdc/images/docker"
	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/jobspec"
)

// smallDisk returns a directory on a file system of its own.
func smallDisk(t *testing.T, size int64) string {
	t.Helper()
	testenv.Root(t)
	file, dir := filepath.Join(t.TempDir(), "disk"), t.TempDir()
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
	for _, words := range [][]string{{"mkfs.ext4", "-q", "-F", file}, {"mount", "-t", "ext4", "-o", "loop", file, dir}} {
		if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", words, err, out)
		}
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
			_ = syscall.Unmount(dir, syscall.MNT_DETACH)
		}
	})
	return dir
}

// used is how many bytes of a file system are taken.
func used(t *testing.T, dir string) int64 {
	t.Helper()
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	return int64(st.Blocks-st.Bfree) * st.Bsize
}

// TestF19F63EngineDiskFull fills the engine's disk by an image: the refusal says
// what is full, nothing of it stays, and an image that fits is taken.
func TestF19F63EngineDiskFull(t *testing.T) {
	eng := testenv.NewOwnEngine(t, map[string]any{"data-root": smallDisk(t, 32<<20)})
	r := newRegistry(t)
	s, err := docker.Open(t.Context(), docker.Config{Host: eng.Host, Registries: []string{r.host}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	raw, err := client.New(client.WithHost(eng.Host))
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	noise := make([]byte, 32<<20)
	rand.Read(noise)
	// Not compressed: under the race detector that takes a minute.
	img, err := mutate.AppendLayers(empty.Image, static.NewLayer(tarOf(t, entry{name: "noise", data: noise}), types.DockerUncompressedLayer))
	if err != nil {
		t.Fatal(err)
	}
	large := forArch(t, img, runtime.GOARCH)
	ref := r.push(t, "ipdc-test/large:1", large)
	before := used(t, eng.Root)
	for name, bring := range map[string]func() error{
		"pull": func() error { _, err := s.Pull(t.Context(), ref, nil); return err },
		"load": func() error {
			_, err := s.Load(t.Context(), bytes.NewReader(tarOf(t, newImageOf(t, tarOf(t, entry{name: "noise", data: noise})).entries(t)...)), "")
			return err
		},
	} {
		err := bring()
		if f := jobspec.AsFailure(err); f.Kind != jobspec.KindLimit || f.Hint == "" {
			t.Errorf("%s onto a full disk = %v, want E_LIMIT with a hint", name, err)
		}
		list, err := raw.ImageList(t.Context(), client.ImageListOptions{All: true})
		if err != nil || len(list.Items) != 0 {
			t.Errorf("after a %s that failed the engine has %v, %v, want no image", name, list.Items, err)
		}
		if more := used(t, eng.Root) - before; more > 8<<20 {
			t.Errorf("a %s that failed left %d bytes", name, more)
		}
	}
	if _, err := s.Load(t.Context(), bytes.NewReader(tarOf(t, newImage(t, "small").entries(t)...)), ""); err != nil {
		t.Errorf("Load of what fits = %v", err)
	}
}

// TestF09EngineTakesNothing has the engine hang in the middle of an archive.
func TestF09EngineTakesNothing(t *testing.T) {
	p := testenv.NewEngineProxy(t, testenv.Docker(t))
	s, err := docker.Open(t.Context(), docker.Config{Host: p.Host, Stall: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	p.Break(func(call string) testenv.Fault { return testenv.Fault{Hang: call == "POST /images/load"} })
	archive := tarOf(t, newImage(t, "never loaded").entries(t)...)
	if _, err := s.Load(context.WithoutCancel(t.Context()), bytes.NewReader(archive), ""); err == nil {
		t.Error("Load into an engine that hangs succeeds")
	} else if f := jobspec.AsFailure(err); f.Kind != jobspec.KindInternal {
		t.Errorf("Load into an engine that hangs = %v, want what a job waits for", err)
	}
}
