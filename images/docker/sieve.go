package docker

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"strings"

	"github.com/ipdc/ipdc/jobspec"
)

// Limits of an archive besides its size in bytes.
const (
	maxJSON    = 1 << 20   // bytes of a manifest, a config or another small file
	maxEntries = 1024      // of the archive
	maxFiles   = 1_000_000 // in all layers together
	maxLayers  = 127       // of overlayfs
)

// sieve copies a docker-archive, letting through layers and configs only. It
// withholds the manifest, and writes one of its own at the end when the
// archive has turned out to be exactly one image under its own digest. Tags
// that the archive brings along are dropped.
type sieve struct {
	in  *tar.Reader
	out *tar.Writer
	max int64 // bytes

	seen     map[string]bool
	manifest []byte
	configs  map[string][]byte // small files by name
	layers   map[string]bool   // whole layers by name
	links    map[string]string // to layers, as engines write for a layer that comes twice
	bytes    int64             // of all entries so far
	unpacked int64             // of all files in layers so far
	files    int
}

func newSieve(in io.Reader, out io.Writer, limit int64) *sieve {
	return &sieve{
		in: tar.NewReader(in), out: tar.NewWriter(out), max: limit,
		seen: map[string]bool{}, configs: map[string][]byte{}, layers: map[string]bool{}, links: map[string]string{},
	}
}

// run copies the archive and returns the image's identity.
func (s *sieve) run(ctx context.Context) (jobspec.ImageID, error) {
	for {
		h, err := s.in.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return "", refuse("not a docker-archive: %v", err)
		}
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		if err := s.entry(h); err != nil {
			return "", err
		}
	}
	return s.finish()
}

func (s *sieve) entry(h *tar.Header) error {
	name := path.Clean(h.Name)
	switch {
	case !filepath.IsLocal(name):
		return refuse("entry %q leaves the archive", h.Name)
	case s.seen[name]:
		return refuse("entry %q comes twice", name)
	case len(s.seen) == maxEntries:
		return jobspec.KindLimitEntries.Errorf("an image archive with more than %d entries", maxEntries)
	}
	s.seen[name] = true
	if s.bytes += h.Size; h.Size < 0 || s.bytes > s.max {
		return jobspec.KindLimitBytes.Errorf("an image archive of more than %d bytes", s.max)
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return nil
	case tar.TypeSymlink:
		s.links[name] = path.Join(path.Dir(name), h.Linkname)
		return nil
	case tar.TypeReg:
		return s.file(name, h.Size)
	}
	return refuse("entry %q is neither a file nor a directory", name)
}

// file tells a layer from a small file by its first bytes.
func (s *sieve) file(name string, size int64) error {
	switch name {
	case "manifest.json":
		b, err := readSmall(s.in, name, size)
		s.manifest = b
		return err
	case "repositories", "index.json", "oci-layout":
		return nil
	}
	r := bufio.NewReaderSize(s.in, 64<<10)
	head, err := r.Peek(512)
	if err != nil && err != io.EOF {
		return refuse("entry %q: %v", name, err)
	}
	switch {
	case bytes.HasPrefix(head, []byte(gzipMagic)):
		return s.layer(name, size, r, true)
	case compressed(head):
		return refuse("layer %q is compressed by something else than gzip", name)
	case len(head) == 512 && (string(head[257:262]) == "ustar" || allZero(head)):
		return s.layer(name, size, r, false)
	}
	b, err := readSmall(r, name, size)
	if err != nil {
		return err
	}
	s.configs[name] = b
	return s.write(name, b)
}

// finish checks the manifest against what came by and lets the image through.
func (s *sieve) finish() (jobspec.ImageID, error) {
	var ms []struct {
		Config string
		Layers []string
	}
	if err := json.Unmarshal(s.manifest, &ms); err != nil {
		return "", refuse("an archive without a readable manifest.json")
	}
	if len(ms) != 1 {
		return "", refuse("an archive with %d images; exactly one is allowed", len(ms))
	}
	id, err := s.checkConfig(path.Clean(ms[0].Config), len(ms[0].Layers))
	if err != nil {
		return "", err
	}
	layers := make([]string, len(ms[0].Layers))
	for i, name := range ms[0].Layers {
		name = path.Clean(name)
		if to, ok := s.links[name]; ok {
			name = to
		}
		if !s.layers[name] {
			return "", refuse("the manifest names layer %q, which is not there", name)
		}
		layers[i] = name
	}
	out, err := json.Marshal([]map[string]any{{"Config": path.Clean(ms[0].Config), "RepoTags": nil, "Layers": layers}})
	if err != nil {
		return "", err
	}
	if err := s.write("manifest.json", out); err != nil {
		return "", err
	}
	return id, s.out.Close()
}

// checkConfig returns the digest of the config at name, which must be the
// digest that its name claims.
func (s *sieve) checkConfig(name string, layers int) (jobspec.ImageID, error) {
	b, ok := s.configs[name]
	if !ok {
		return "", refuse("the manifest names config %q, which is not there", name)
	}
	sum := sha256.Sum256(b)
	digest := hex.EncodeToString(sum[:])
	claimed := strings.TrimPrefix(strings.TrimSuffix(path.Base(name), ".json"), "sha256:")
	if claimed != digest {
		return "", refuse("the config says it is %s, but its digest is %s", claimed, digest)
	}
	var c struct {
		OS     string `json:"os"`
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return "", refuse("the config %s is no JSON: %v", digest, err)
	}
	if c.OS != "linux" || len(c.RootFS.DiffIDs) != layers || layers > maxLayers {
		return "", refuse("the config is for %q with %d layers, the manifest has %d; at most %d are allowed",
			c.OS, len(c.RootFS.DiffIDs), layers, maxLayers)
	}
	return jobspec.ImageID("sha256:" + digest), nil
}

func (s *sieve) write(name string, b []byte) error {
	if err := s.out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(b)), Mode: 0o644}); err != nil {
		return err
	}
	_, err := s.out.Write(b)
	return err
}

func readSmall(r io.Reader, name string, size int64) ([]byte, error) {
	if size > maxJSON {
		return nil, jobspec.KindLimitBytes.Errorf("%q is neither a layer nor a file of at most %d bytes", name, maxJSON)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, refuse("entry %q: %v", name, err)
	}
	return b, nil
}

func refuse(format string, a ...any) error {
	return jobspec.Failure{
		Kind:   jobspec.KindImageRef,
		Detail: fmt.Sprintf(format, a...),
		Hint:   "save a single image: docker save NAME:TAG",
	}.Error()
}
