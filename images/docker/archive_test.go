package docker_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"testing"
)

// entry is a file of an archive.
type entry struct {
	name string
	data []byte
	link string // symbolic link to it instead of data
}

// image is a tiny image whose only file says word.
type image struct {
	id     string // config digest, 64 digits
	config []byte
	layer  []byte
}

func newImage(t *testing.T, word string) image {
	t.Helper()
	return newImageOf(t, tarOf(t, entry{name: "word", data: []byte(word)}))
}

func newImageOf(t *testing.T, layer []byte) image {
	t.Helper()
	sum := sha256.Sum256(layer)
	config := mustJSON(t, map[string]any{
		"architecture": "amd64", "os": "linux", "config": map[string]any{},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + hex.EncodeToString(sum[:])}},
	})
	id := sha256.Sum256(config)
	return image{id: hex.EncodeToString(id[:]), config: config, layer: layer}
}

// entries are the image as docker save writes it, tags included.
func (i image) entries(t *testing.T, tags ...string) []entry {
	return []entry{
		{name: i.id + ".json", data: i.config},
		{name: i.id + "/layer.tar", data: i.layer},
		{name: "manifest.json", data: manifestOf(t, i.item(tags...))},
	}
}

func (i image) item(tags ...string) map[string]any {
	return map[string]any{"Config": i.id + ".json", "RepoTags": tags, "Layers": []string{i.id + "/layer.tar"}}
}

func manifestOf(t *testing.T, items ...map[string]any) []byte { return mustJSON(t, items) }

func tarOf(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: e.name, Size: int64(len(e.data)), Mode: 0o644}
		if e.link != "" {
			h.Typeflag, h.Linkname = tar.TypeSymlink, e.link
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(e.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipOf(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// withConfig is i with another config, and so another identity.
func (i image) withConfig(t *testing.T, config map[string]any) image {
	t.Helper()
	i.config = mustJSON(t, config)
	sum := sha256.Sum256(i.config)
	i.id = hex.EncodeToString(sum[:])
	return i
}

func mustUnmarshal(t *testing.T, b []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatal(err)
	}
}
