package docker_test

import (
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/ipdc/ipdc/images"
	"github.com/ipdc/ipdc/images/docker"
	"github.com/ipdc/ipdc/jobspec"
)

func TestOpenRefusesContainerdStore(t *testing.T) {
	host, _ := fakeEngine(t, `{"DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]]}`)
	_, err := docker.Open(t.Context(), docker.Config{Host: host})
	if f := jobspec.AsFailure(err); f.Kind != jobspec.KindPolicy || f.Hint == "" {
		t.Errorf("Open = %v, want E_POLICY with a hint", err)
	}
}

func TestOpenWithoutEngine(t *testing.T) {
	host := "unix://" + t.TempDir() + "/none.sock"
	_, err := docker.Open(t.Context(), docker.Config{Host: host})
	if err == nil || !strings.Contains(err.Error(), host) {
		t.Errorf("Open = %v, want an error that names %s", err, host)
	}
}

func TestResolveRefusesGarbage(t *testing.T) {
	s, asked := openFake(t)
	for _, ref := range []string{
		"", "-rm", "..", "a/../b", "Alpine", "alpine:", "alpine:a b", "älpine", "a@b:c", "alpine\n",
		strings.Repeat("a", 300), "a:" + strings.Repeat("b", 600), "http://alpine",
		strings.Repeat("0", 64), "sha256:abc", "sha256:" + strings.Repeat("G", 64), "alpine@sha256:abc",
		"alpine?x=1", "alpine#x", "alpine%2f..",
	} {
		t.Run("M04 "+ref, func(t *testing.T) {
			_, err := s.Resolve(t.Context(), ref)
			if f := jobspec.AsFailure(err); f.Kind != jobspec.KindImageRef || f.Hint == "" {
				t.Errorf("Resolve(%q) = %v, want E_IMAGE_REF with a hint", ref, err)
			}
		})
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("the engine was asked %d times for garbage, want 0", n)
	}
	if _, err := s.Resolve(t.Context(), "alpine"); !errors.Is(err, jobspec.KindImageRef.Error()) || asked.Load() != 1 {
		t.Errorf("Resolve(alpine) = %v after %d questions, want E_IMAGE_REF after 1", err, asked.Load())
	}
}

func TestResolveSaysWhatToDo(t *testing.T) {
	s, _ := openFake(t)
	for ref, want := range map[string]string{"shell": "ipdc image build shell", "python": "ipdc image build python", "debian:12": "docker pull"} {
		_, err := s.Resolve(t.Context(), ref)
		if f := jobspec.AsFailure(err); !strings.Contains(f.Hint, want) {
			t.Errorf("Resolve(%q) gives the hint %q, want %q in it", ref, f.Hint, want)
		}
	}
	if list, err := s.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("List on an empty engine = %v, %v, want none", list, err)
	}
}

func TestResolve(t *testing.T) {
	e := openEngine(t, docker.Config{})
	a, b := newImage(t, "resolve a"), newImage(t, "resolve b")
	const tag = "ipdc-test/resolve:1"
	idA := e.load(t, a, tag)

	for _, ref := range []string{tag, "docker.io/" + tag, idA} {
		got, err := e.Resolve(t.Context(), ref)
		if err != nil || got.ID.String() != idA || got.Arch != "amd64" {
			t.Errorf("Resolve(%s) = %+v, %v, want %s for amd64", ref, got, err, idA)
		}
	}

	t.Run("M01 retagged", func(t *testing.T) {
		before := resolve(t, e, tag)
		idB := e.load(t, b, tag)
		if got := resolve(t, e, before.ID.String()); got.ID.String() != idA {
			t.Errorf("Resolve of the earlier id = %s, want %s", got.ID, idA)
		}
		if got := resolve(t, e, tag); got.ID.String() != idB {
			t.Errorf("Resolve(%s) after the retag = %s, want %s: the attack does not work", tag, got.ID, idB)
		}
	})

	t.Run("M05 start of an id", func(t *testing.T) {
		prefix := a.id[:12]
		if !e.has(t, prefix) {
			t.Fatalf("the engine does not know %s: the attack does not work", prefix)
		}
		if _, err := e.Resolve(t.Context(), prefix); !errors.Is(err, jobspec.KindImageRef.Error()) {
			t.Errorf("Resolve(%s) = %v, want E_IMAGE_REF", prefix, err)
		}
	})
}

// TestResolveDigest needs images that have a digest of a registry, so one runs
// on the loopback address here, and it is the test that pulls from it.
func TestResolveDigest(t *testing.T) {
	e := openEngine(t, docker.Config{})
	srv := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer srv.Close()
	host, repo := srv.Listener.Addr().String(), "ipdc-test/digest"
	name := host + "/" + repo
	a, digestA := e.publish(t, host, repo, "1")
	b, _ := e.publish(t, host, repo, "1")

	t.Run("M02 digest wins over tag", func(t *testing.T) {
		if got := resolve(t, e, name+":1"); got.ID.String() != b {
			t.Fatalf("Resolve(name:1) = %s, want %s: the tag did not move", got.ID, b)
		}
		for _, ref := range []string{name + "@" + digestA, name + ":1@" + digestA} {
			if got := resolve(t, e, ref); got.ID.String() != a {
				t.Errorf("Resolve(%s) = %s, want %s", ref, got.ID, a)
			}
		}
	})
	for _, ref := range []string{name + ":1@sha256:" + strings.Repeat("0", 64), "other@" + digestA} {
		if got, err := e.Resolve(t.Context(), ref); !errors.Is(err, jobspec.KindImageRef.Error()) {
			t.Errorf("Resolve(%s) = %s, %v, want E_IMAGE_REF", ref, got.ID, err)
		}
	}
}

func TestResolveStockIsThisBuild(t *testing.T) {
	e := openEngine(t, docker.Config{})
	other := newImage(t, "another python")
	e.load(t, other, "python:latest")
	got, err := e.Resolve(t.Context(), "python")
	if err == nil && got.ID.String() == "sha256:"+other.id {
		t.Errorf("Resolve(python) = %s, which is python:latest; want the stock image or E_IMAGE_REF", got.ID)
	}
	if err != nil && !errors.Is(err, jobspec.KindImageRef.Error()) {
		t.Errorf("Resolve(python) = %v, want the stock image or E_IMAGE_REF", err)
	}
	list, err := e.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, img := range list {
		_, notCID := jobspec.ParseCID(img.Ref)
		if !strings.HasPrefix(img.Ref, "ipdc/") && notCID != nil || img.Size == 0 {
			t.Errorf("List has %+v, want stock images and CIDs only, with their sizes", img)
		}
	}
}

func resolve(t *testing.T, e engine, ref string) images.Image {
	t.Helper()
	got, err := e.Resolve(t.Context(), ref)
	if err != nil {
		t.Fatalf("Resolve(%s) = %v", ref, err)
	}
	return got
}
