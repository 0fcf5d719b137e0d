package stock

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/ipdc/ipdc/images"
	"github.com/ipdc/ipdc/jobspec"
)

// config is the image's config blob. Its bytes are the image's identity, so
// it is spelled out here instead of taken from a library whose fields grow.
type config struct {
	Architecture string      `json:"architecture"`
	Config       environment `json:"config"`
	Created      time.Time   `json:"created"`
	OS           string      `json:"os"`
	RootFS       rootFS      `json:"rootfs"`
}

type environment struct {
	Env []string `json:"Env"`
}

type rootFS struct {
	Type    string   `json:"type"`
	DiffIDs []string `json:"diff_ids"`
}

// manifest is the one element of manifest.json.
type manifest struct {
	Config   string   `json:"Config"`
	RepoTags []string `json:"RepoTags"`
	Layers   []string `json:"Layers"`
}

// writeArchive writes a docker-archive with the manifest and the config in
// front, so that its identity can be read without reading the layer, whose
// size in bytes is returned too.
func writeArchive(w io.Writer, r images.Recipe, l *layer) (jobspec.ImageID, int64, error) {
	sum := sha256.New()
	var size counter
	if err := l.writeTo(io.MultiWriter(sum, &size)); err != nil {
		return "", 0, err
	}
	diffID := hex.EncodeToString(sum.Sum(nil))
	conf, err := json.Marshal(config{
		Architecture: runtime.GOARCH,
		Config:       environment{Env: environ(r.Env)},
		Created:      l.mtime.UTC(),
		OS:           "linux",
		RootFS:       rootFS{Type: "layers", DiffIDs: []string{"sha256:" + diffID}},
	})
	if err != nil {
		return "", 0, err
	}
	digest := sha256.Sum256(conf)
	id := hex.EncodeToString(digest[:])
	m, err := json.Marshal([]manifest{{Config: id + ".json", RepoTags: []string{r.Tag()}, Layers: []string{diffID + "/layer.tar"}}})
	if err != nil {
		return "", 0, err
	}
	tw := tar.NewWriter(w)
	entries := []struct {
		name  string
		size  int64
		write func(io.Writer) error
	}{
		{"manifest.json", int64(len(m)), writeBytes(m)},
		{id + ".json", int64(len(conf)), writeBytes(conf)},
		{diffID + "/layer.tar", int64(size), l.writeTo},
	}
	for _, e := range entries {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: e.name, Size: e.size, Mode: 0o644, ModTime: l.mtime}
		if err := tw.WriteHeader(h); err != nil {
			return "", 0, err
		}
		if err := e.write(tw); err != nil {
			return "", 0, err
		}
	}
	return jobspec.ImageID("sha256:" + id), int64(size), tw.Close()
}

// readID returns the identity of an archive that writeArchive wrote.
func readID(path string) (jobspec.ImageID, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	tr := tar.NewReader(f)
	var ms []manifest
	for {
		h, err := tr.Next()
		if err != nil {
			return "", fmt.Errorf("read %s: %w (remove it to have it built again)", path, err)
		}
		b, err := io.ReadAll(io.LimitReader(tr, 1<<20))
		if err != nil {
			return "", fmt.Errorf("read %s: %w", path, err)
		}
		sum := sha256.Sum256(b)
		id := hex.EncodeToString(sum[:])
		switch {
		case h.Name == "manifest.json" && json.Unmarshal(b, &ms) == nil && len(ms) == 1:
		case len(ms) == 1 && h.Name == ms[0].Config && h.Name == id+".json":
			return jobspec.ImageID("sha256:" + id), nil
		default:
			return "", fmt.Errorf("read %s: not an archive of this program (remove it to have it built again)", path)
		}
	}
}

func environ(env map[string]string) []string {
	var list []string
	for _, k := range slices.Sorted(maps.Keys(env)) {
		list = append(list, k+"="+env[k])
	}
	return list
}

func writeBytes(b []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	}
}

// counter counts the bytes written to it.
type counter int64

// Write adds len(b).
func (c *counter) Write(b []byte) (int, error) {
	*c += counter(len(b))
	return len(b), nil
}
