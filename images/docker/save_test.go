package docker_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/ipdc/ipdc/images/docker"
	"github.com/ipdc/ipdc/jobspec"
)

// What is saved is the same whatever names the image has and however it came,
// and is the same image again when it is loaded.
func TestSave(t *testing.T) {
	e := openEngine(t, docker.Config{Spool: t.TempDir()})
	i := newImage(t, "save")
	id := jobspec.ImageID(e.load(t, i, "ipdc-test/save:1"))
	first := save(t, e, id)
	if err := e.Tag(t.Context(), id, "ipdc-test/other-name:2"); err != nil {
		t.Fatal(err)
	}
	if again := save(t, e, id); !bytes.Equal(first, again) {
		t.Error("Save of an image with one more name gives other bytes")
	}
	img, err := tarball.Image(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(first)), nil }, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(img); err != nil {
		t.Errorf("another implementation says: %v", err)
	}
	e.remove(t, i)
	if got, err := e.Load(t.Context(), bytes.NewReader(first), "ipdc-test/save:1"); err != nil || got != id {
		t.Fatalf("Load of what was saved = %s, %v, want %s", got, err, id)
	}
	if again := save(t, e, id); !bytes.Equal(first, again) {
		t.Error("Save after Load gives other bytes")
	}
}

// An engine writes a link where a layer comes twice.
func TestSaveLayerThatComesTwice(t *testing.T) {
	e := openEngine(t, docker.Config{Spool: t.TempDir()})
	i := newImageOf(t, tarOf(t, entry{name: "word", data: []byte("twice")}))
	var config map[string]any
	mustUnmarshal(t, i.config, &config)
	rootfs := config["rootfs"].(map[string]any)
	rootfs["diff_ids"] = append(rootfs["diff_ids"].([]any), rootfs["diff_ids"].([]any)[0])
	i = i.withConfig(t, config)
	m := i.item()
	m["Layers"] = []string{i.id + "/layer.tar", i.id + "/layer.tar"}
	e.removeAfter(t, i)
	entries := i.entries(t)
	entries[2].data = manifestOf(t, m)
	id, err := e.Load(t.Context(), bytes.NewReader(tarOf(t, entries...)), "")
	if err != nil {
		t.Fatal(err)
	}
	saved := save(t, e, id)
	e.remove(t, i)
	if got, err := e.Load(t.Context(), bytes.NewReader(saved), ""); err != nil || got != id {
		t.Errorf("Load of what was saved = %s, %v, want %s", got, err, id)
	}
}

func TestSaveRefuses(t *testing.T) {
	dir := t.TempDir()
	e := openEngine(t, docker.Config{Spool: dir})
	missing := jobspec.ImageID("sha256:" + strings.Repeat("0", 64))
	if err := e.Save(t.Context(), missing, new(bytes.Buffer)); !errors.Is(err, jobspec.KindImageRef.Error()) {
		t.Errorf("Save of a missing image = %v, want E_IMAGE_REF", err)
	}
	tight := openEngine(t, docker.Config{Spool: dir, MaxArchive: 100})
	id := jobspec.ImageID(e.load(t, newImage(t, "too large to save"), "ipdc-test/large:1"))
	if err := tight.Save(t.Context(), id, new(bytes.Buffer)); !errors.Is(err, jobspec.KindLimitBytes.Error()) {
		t.Errorf("Save of a large image = %v, want E_LIMIT_BYTES", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left in the spool: %v, %v", left, err)
	}
}

// Remove takes one name away, and the image with the last; names that ipdc
// gave do not keep it.
func TestRemove(t *testing.T) {
	e := openEngine(t, docker.Config{})
	i := newImage(t, "remove")
	id := jobspec.ImageID(e.load(t, i, "ipdc-test/remove:1"))
	for _, tag := range []string{"ipdc-test/remove:2", "ipdc/cid:ipdc-test", "ipdc/digest:ipdc-test"} {
		if err := e.Tag(t.Context(), id, tag); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := e.Remove(t.Context(), "ipdc-test/remove:1"); err != nil || e.has(t, "ipdc-test/remove:1") || !e.has(t, "ipdc-test/remove:2") {
		t.Errorf("Remove of one name = %v; want the other to stay", err)
	}
	if e.has(t, "ipdc/cid:ipdc-test") || e.has(t, "ipdc/digest:ipdc-test") {
		t.Error("names of ipdc's own are left")
	}
	c, err := e.raw.ContainerCreate(t.Context(), client.ContainerCreateOptions{Image: id.String(), Config: &container.Config{Cmd: []string{"/x"}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Remove(t.Context(), "ipdc-test/remove:2"); !errors.Is(err, jobspec.KindConflict.Error()) {
		t.Errorf("Remove of an image in use = %v, want E_CONFLICT", err)
	}
	if _, err := e.raw.ContainerRemove(t.Context(), c.ID, client.ContainerRemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Remove(t.Context(), id.String()); err != nil || e.has(t, id.String()) {
		t.Errorf("Remove by id = %v, want the image gone", err)
	}
	if _, err := e.Remove(t.Context(), id.String()); !errors.Is(err, jobspec.KindImageRef.Error()) {
		t.Errorf("Remove of a missing image = %v, want E_IMAGE_REF", err)
	}
}
