package docker_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/images/docker"
	"github.com/ipdc/ipdc/jobspec"
)

func TestLoad(t *testing.T) {
	e := openEngine(t, docker.Config{})
	for _, gzipped := range []bool{false, true} {
		t.Run(fmt.Sprintf("gzipped=%v", gzipped), func(t *testing.T) {
			i := newImage(t, fmt.Sprintf("load gzipped=%v", gzipped))
			if gzipped {
				i.layer = gzipOf(t, i.layer)
			}
			const tag = "ipdc-test/load:1"
			e.load(t, i, tag)
			e.load(t, i, tag)
			if got := resolve(t, e, tag); got.ID.String() != "sha256:"+i.id {
				t.Errorf("Resolve(%s) = %s, want sha256:%s", tag, got.ID, i.id)
			}
		})
	}
}

// An engine writes a link where a layer comes twice.
func TestLoadLinkedLayer(t *testing.T) {
	e := openEngine(t, docker.Config{})
	i := newImage(t, "linked layer")
	m := i.item()
	m["Layers"] = []string{"again/layer.tar"}
	archive := tarOf(t,
		entry{name: i.id + ".json", data: i.config},
		entry{name: "again/layer.tar", link: "../" + i.id + "/layer.tar"},
		entry{name: i.id + "/layer.tar", data: i.layer},
		entry{name: "manifest.json", data: manifestOf(t, m)})
	e.removeAfter(t, i)
	if _, err := e.Load(t.Context(), bytes.NewReader(archive), ""); err != nil {
		t.Errorf("Load = %v, want no error", err)
	}
}

func TestLoadIgnoresTagsOfTheArchive(t *testing.T) {
	e := openEngine(t, docker.Config{})
	i := newImage(t, "tags of the archive")
	const tag = "ipdc-test/smuggled:1"
	entries := append(i.entries(t, tag), entry{
		name: "repositories", data: []byte(`{"ipdc-test/smuggled": {"1": "` + i.id + `"}}`)})
	archive := tarOf(t, entries...)
	e.removeAfter(t, i)
	if _, err := e.Load(t.Context(), bytes.NewReader(archive), ""); err != nil {
		t.Fatal(err)
	}
	if e.has(t, tag) {
		t.Errorf("Load took over the archive's tag %s", tag)
	}
	e.rawLoad(t, archive)
	if !e.has(t, tag) {
		t.Errorf("docker load does not take over the tag either: the attack does not work")
	}
}

func TestLoadRefuses(t *testing.T) {
	const limit = 1 << 20
	e := openEngine(t, docker.Config{MaxArchive: limit})
	a, b := newImage(t, "refused a"), newImage(t, "refused b")
	e.removeAfter(t, a, b)

	lying := a.entries(t)
	lying[0].data = append([]byte(" "), lying[0].data...)
	bomb, holes := newImageOf(t, tarOf(t, entry{name: "zeros", data: make([]byte, 2*limit)})), newImage(t, "holes")
	bomb.layer = gzipOf(t, bomb.layer)
	holes.layer = sparse(t, 1<<40)
	padded := newImage(t, "padded")
	padded.layer = gzipOf(t, append(padded.layer, make([]byte, 2*limit)...))
	whole := tarOf(t, a.entries(t)...)

	for name, tc := range map[string]struct {
		archive []byte
		want    jobspec.Kind
	}{
		"two images":            {tarOf(t, append(a.entries(t)[:2], append(b.entries(t)[:2], entry{name: "manifest.json", data: manifestOf(t, a.item(), b.item())})...)...), jobspec.KindImageRef},
		"no image":              {tarOf(t, append(a.entries(t)[:2], entry{name: "manifest.json", data: []byte("[]")})...), jobspec.KindImageRef},
		"no manifest":           {tarOf(t, a.entries(t)[:2]...), jobspec.KindImageRef},
		"config of another id":  {tarOf(t, lying...), jobspec.KindImageRef},
		"no config":             {tarOf(t, a.entries(t)[1:]...), jobspec.KindImageRef},
		"no layer":              {tarOf(t, a.entries(t)[0], a.entries(t)[2]), jobspec.KindImageRef},
		"two manifests":         {tarOf(t, append(a.entries(t), entry{name: "./manifest.json", data: manifestOf(t, b.item())})...), jobspec.KindImageRef},
		"M14 leaves its root":   {tarOf(t, append([]entry{{name: "../x", data: []byte("x")}}, a.entries(t)...)...), jobspec.KindImageRef},
		"cut off":               {whole[:len(whole)/2], jobspec.KindImageRef},
		"not a tar":             {bytes.Repeat([]byte("no tar "), 1000), jobspec.KindImageRef},
		"empty":                 {nil, jobspec.KindImageRef},
		"zstd layer":            {tarOf(t, entry{name: "l/layer.tar", data: append([]byte("\x28\xb5\x2f\xfd"), make([]byte, 600)...)}), jobspec.KindImageRef},
		"M13 gzip bomb":         {tarOf(t, bomb.entries(t)...), jobspec.KindLimitBytes},
		"M13 zeros after a tar": {tarOf(t, padded.entries(t)...), jobspec.KindLimitBytes},
		"M13 holes":             {tarOf(t, holes.entries(t)...), jobspec.KindLimitBytes},
		"M13 large":             {tarOf(t, entry{name: "l/layer.tar", data: make([]byte, limit+1)}), jobspec.KindLimitBytes},
		"M13 large config":      {tarOf(t, entry{name: "c.json", data: bytes.Repeat([]byte("x"), limit+1)}), jobspec.KindLimitBytes},
		"M13 many entries":      {tarOf(t, many(1025)...), jobspec.KindLimitEntries},
	} {
		t.Run(name, func(t *testing.T) {
			id, err := e.Load(t.Context(), bytes.NewReader(tc.archive), "ipdc-test/refused:1")
			if f := jobspec.AsFailure(err); err == nil || f.Kind != tc.want {
				t.Errorf("Load = %s, %v, want %s", id, err, tc.want)
			}
			for _, i := range []image{a, b, bomb, holes, padded} {
				if e.has(t, "sha256:"+i.id) {
					t.Errorf("the engine has image %s of a refused archive", i.id)
				}
			}
		})
	}

	// With more room the bomb goes off, and docker load takes two images.
	roomy := openEngine(t, docker.Config{})
	e.removeAfter(t, bomb)
	if _, err := roomy.Load(t.Context(), bytes.NewReader(tarOf(t, bomb.entries(t)...)), ""); err != nil {
		t.Errorf("Load of the bomb with room = %v: the attack does not work", err)
	}
	e.rawLoad(t, tarOf(t, append(a.entries(t)[:2], append(b.entries(t)[:2], entry{name: "manifest.json", data: manifestOf(t, a.item(), b.item())})...)...))
	if !e.has(t, "sha256:"+a.id) || !e.has(t, "sha256:"+b.id) {
		t.Error("docker load does not take two images either: the attack does not work")
	}
}

func TestLoadRefusesTags(t *testing.T) {
	s, asked := openFake(t)
	for _, tag := range []string{"name", "UPPER:1", "a b:1", "x@sha256:" + strings.Repeat("0", 64)} {
		_, err := s.Load(t.Context(), bytes.NewReader(nil), tag)
		if !errors.Is(err, jobspec.KindImageRef.Error()) {
			t.Errorf("Load with tag %q = %v, want E_IMAGE_REF", tag, err)
		}
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("the engine was asked %d times, want 0", n)
	}
}

func TestLoadCancelled(t *testing.T) {
	e := openEngine(t, docker.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	i := newImage(t, "cancelled")
	e.removeAfter(t, i)
	_, err := e.Load(ctx, bytes.NewReader(tarOf(t, i.entries(t)...)), "")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Load = %v, want context.Canceled", err)
	}
}

// many returns n small files.
func many(n int) []entry {
	all := make([]entry, n)
	for i := range all {
		all[i] = entry{name: fmt.Sprintf("f%d", i), data: []byte("x")}
	}
	return all
}

// sparse returns a tar of one file that is a single hole of size bytes, in
// GNU's format 1.0.
func sparse(t *testing.T, size int64) []byte {
	t.Helper()
	block := make([]byte, 512)
	copy(block, "0\n")
	records := ""
	for _, kv := range [][2]string{{"GNU.sparse.major", "1"}, {"GNU.sparse.minor", "0"}, {"GNU.sparse.name", "holes"}, {"GNU.sparse.realsize", fmt.Sprint(size)}} {
		records += record(kv[0], kv[1])
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	// archive/tar writes no sparse files, so the extended header is made here.
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "PaxHeaders/holes", Size: int64(len(records))}); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(w, records)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "holes", Size: int64(len(block))}); err != nil {
		t.Fatal(err)
	}
	w.Write(block)
	w.Close()
	out := b.Bytes()
	out[156] = tar.TypeXHeader
	fixChecksum(out[:512])
	return out
}

// record is a line of an extended header, which starts with its own length.
func record(k, v string) string {
	for n := len(k) + len(v) + 4; ; n++ {
		if s := fmt.Sprintf("%d %s=%s\n", n, k, v); len(s) == n {
			return s
		}
	}
}

func fixChecksum(h []byte) {
	copy(h[148:156], "        ")
	sum := 0
	for _, c := range h {
		sum += int(c)
	}
	copy(h[148:156], fmt.Sprintf("%06o\x00 ", sum))
}
