package docker

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/ipdc/ipdc/internal/durable"
	"github.com/ipdc/ipdc/jobspec"
)

// Save writes a docker-archive with the manifest and the config in front and
// each layer once, named by its digest. What the engine saves differs with its
// version and with the image's tags, so it is spooled to a file and put in
// order; every layer is checked against the config.
func (s *Store) Save(ctx context.Context, id jobspec.ImageID, w io.Writer) error {
	f, err := durable.TempFile(s.cfg.Spool)
	if err != nil {
		return fmt.Errorf("save image %s: %w", id, err)
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil { // a crash leaves nothing
		return err
	}
	if err := s.spool(ctx, id, f); err != nil {
		return fmt.Errorf("save image %s: %w", id, err)
	}
	a, err := openArchive(f)
	if err == nil {
		err = a.write(ctx, w, id)
	}
	if err != nil {
		return fmt.Errorf("save image %s: %w", id, err)
	}
	return nil
}

func (s *Store) spool(ctx context.Context, id jobspec.ImageID, f *os.File) error {
	_, err := s.cli.ImageInspect(ctx, id.String())
	if errdefs.IsNotFound(err) {
		return jobspec.KindImageRef.Errorf("no local image %s", id)
	}
	if err != nil {
		return err
	}
	ctx, moved, stop := s.attended(ctx)
	defer stop()
	res, err := s.cli.ImageSave(ctx, []string{id.String()})
	if err != nil {
		return err
	}
	defer res.Close()
	n, err := io.Copy(f, io.LimitReader(movingReader{res, moved}, s.cfg.MaxArchive+1))
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err == nil && n > s.cfg.MaxArchive {
		err = jobspec.KindLimitBytes.Errorf("an archive of more than %d bytes", s.cfg.MaxArchive)
	}
	return err
}

// archive is an engine's archive that can be read in any order.
type archive struct {
	f     *os.File
	files map[string]*io.SectionReader
	links map[string]string // to layers that come twice
}

func openArchive(f *os.File) (*archive, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	a := &archive{f: f, files: map[string]*io.SectionReader{}, links: map[string]string{}}
	tr := tar.NewReader(f)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return a, nil
		}
		if err != nil {
			return nil, err
		}
		// tar.Reader reads no further than it must, so f stands at the content.
		at, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		name := path.Clean(h.Name)
		switch h.Typeflag {
		case tar.TypeReg:
			a.files[name] = io.NewSectionReader(f, at, h.Size)
		case tar.TypeSymlink:
			a.links[name] = path.Join(path.Dir(name), h.Linkname)
		}
	}
}

// open returns the file of that name from its beginning.
func (a *archive) open(name string) (*io.SectionReader, error) {
	name = path.Clean(name)
	if to, ok := a.links[name]; ok {
		name = to
	}
	r, ok := a.files[name]
	if !ok {
		return nil, fmt.Errorf("the engine's archive has no %s", name)
	}
	_, err := r.Seek(0, io.SeekStart)
	return r, err
}

// manifestItem is an element of manifest.json.
type manifestItem struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// read returns the one image of the archive: its layers' places and its config.
func (a *archive) read(id jobspec.ImageID) (layers, diffIDs []string, config []byte, err error) {
	var ms []manifestItem
	r, err := a.open("manifest.json")
	if err != nil {
		return nil, nil, nil, err
	}
	if err := json.NewDecoder(io.LimitReader(r, maxJSON)).Decode(&ms); err != nil || len(ms) != 1 {
		return nil, nil, nil, fmt.Errorf("the engine's archive has %d images (%w)", len(ms), err)
	}
	if r, err = a.open(ms[0].Config); err != nil {
		return nil, nil, nil, err
	}
	if config, err = io.ReadAll(io.LimitReader(r, maxJSON)); err != nil {
		return nil, nil, nil, err
	}
	var c struct {
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		} `json:"rootfs"`
	}
	sum := sha256.Sum256(config)
	if got := "sha256:" + hex.EncodeToString(sum[:]); got != id.String() {
		return nil, nil, nil, fmt.Errorf("the engine's archive has the image %s", got)
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, nil, nil, err
	}
	if len(c.RootFS.DiffIDs) != len(ms[0].Layers) {
		return nil, nil, nil, fmt.Errorf("the config has %d layers, the engine's archive %d", len(c.RootFS.DiffIDs), len(ms[0].Layers))
	}
	return ms[0].Layers, c.RootFS.DiffIDs, config, nil
}

// write writes the archive in its one form.
func (a *archive) write(ctx context.Context, w io.Writer, id jobspec.ImageID) error {
	layers, diffIDs, config, err := a.read(id)
	if err != nil {
		return err
	}
	item := manifestItem{Config: strings.TrimPrefix(id.String(), "sha256:") + ".json"}
	for _, d := range diffIDs {
		item.Layers = append(item.Layers, strings.TrimPrefix(d, "sha256:")+"/layer.tar")
	}
	manifest, err := json.Marshal([]manifestItem{item})
	if err != nil {
		return err
	}
	tw := tar.NewWriter(w)
	if err := errors.Join(writeEntry(tw, "manifest.json", manifest), writeEntry(tw, item.Config, config)); err != nil {
		return err
	}
	written := map[string]bool{}
	for i, name := range item.Layers {
		if written[name] {
			continue
		}
		written[name] = true
		if err := context.Cause(ctx); err != nil {
			return err
		}
		r, err := a.open(layers[i])
		if err != nil {
			return err
		}
		if err := copyLayer(tw, name, diffIDs[i], r); err != nil {
			return err
		}
	}
	return tw.Close()
}

func copyLayer(tw *tar.Writer, name, diffID string, r *io.SectionReader) error {
	if err := tw.WriteHeader(entryHeader(name, r.Size())); err != nil {
		return err
	}
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(tw, sum), r); err != nil {
		return err
	}
	if got := "sha256:" + hex.EncodeToString(sum.Sum(nil)); got != diffID {
		return fmt.Errorf("layer %s of the engine's archive is %s", diffID, got)
	}
	return nil
}

func writeEntry(tw *tar.Writer, name string, b []byte) error {
	if err := tw.WriteHeader(entryHeader(name, int64(len(b)))); err != nil {
		return err
	}
	_, err := tw.Write(b)
	return err
}

func entryHeader(name string, size int64) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, ModTime: time.Unix(0, 0)}
}
