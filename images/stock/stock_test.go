package stock_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/ipdc/ipdc/images"
	"github.com/ipdc/ipdc/images/stock"
	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/jobspec"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestPack has another implementation read the archive.
func TestPack(t *testing.T) {
	dir := t.TempDir()
	root, path := filepath.Join(dir, "root.tar"), filepath.Join(dir, "image.tar")
	b := new(bytes.Buffer)
	if _, err := tarOf(t, tar.Header{Typeflag: tar.TypeReg, Name: "bin/sh", Linkname: "sh", Mode: 0o755}).WriteTo(b); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(root, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	r, _ := images.StockRecipe("shell")
	id, size, err := stock.Pack(t.Context(), r, root, path)
	if err != nil || size == 0 {
		t.Fatalf("Pack = %s, %d, %v, want an id and a size", id, size, err)
	}
	img, err := tarball.ImageFromPath(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(img); err != nil {
		t.Errorf("validate: %v", err)
	}
	if got, err := img.ConfigName(); err != nil || got.String() != id.String() {
		t.Errorf("ConfigName = %s, %v, want %s", got, err, id)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.OS != "linux" || config.Created.Unix() != r.Epoch || !slices.Contains(config.Config.Env, "LANG=C.UTF-8") {
		t.Errorf("config = %+v, want linux, the recipe's epoch and its environment", config)
	}
}

func TestBuildRefusesUnknownName(t *testing.T) {
	_, _, err := stock.Build(t.Context(), stock.Config{Name: "../x", Out: t.TempDir()})
	if f := jobspec.AsFailure(err); f.Kind != jobspec.KindImageRef || !strings.Contains(f.Hint, "shell") {
		t.Errorf("Build(../x) = %v, want E_IMAGE_REF with the names that exist", err)
	}
}

func TestBuildWithoutTool(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, _, err := stock.Build(t.Context(), stock.Config{Name: "shell", Out: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "apt-get install -y mmdebstrap") {
		t.Errorf("Build without mmdebstrap = %v, want the command that installs it", err)
	}
}

// TestBuildTool has a script in the place of mmdebstrap: its failure and the
// end of the context must come through, and nothing may be left behind.
func TestBuildTool(t *testing.T) {
	t.Run("fails", func(t *testing.T) {
		out := fakeTool(t, "echo 'I: step one' >&2; echo 'E: no key' >&2; exit 7")
		if err := os.MkdirAll(filepath.Join(out, "shell-build-123", "rootfs"), 0o700); err != nil { // of one that was killed
			t.Fatal(err)
		}
		var steps []string
		_, _, err := stock.Build(t.Context(), stock.Config{Name: "shell", Out: out, Progress: func(s string) { steps = append(steps, s) }})
		if err == nil || !strings.Contains(err.Error(), "E: no key") || !slices.Equal(steps, []string{"step one"}) {
			t.Errorf("Build = %v with steps %q, want the tool's words and step one", err, steps)
		}
		wantEmpty(t, out)
	})
	t.Run("is interrupted", func(t *testing.T) {
		out := fakeTool(t, "trap 'echo E: cleaned up >&2; exit 1' INT; echo 'I: started' >&2; while :; do sleep 0.1; done")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		_, _, err := stock.Build(ctx, stock.Config{Name: "shell", Out: out, Progress: func(string) { cancel() }})
		if !errors.Is(err, context.Canceled) && (err == nil || !strings.Contains(err.Error(), "cleaned up")) {
			t.Errorf("Build = %v, want the end of the context after the tool cleaned up", err)
		}
		wantEmpty(t, out)
	})
}

// fakeTool puts a script under mmdebstrap's name in front of PATH and returns
// an empty directory to build in.
func fakeTool(t *testing.T, script string) (out string) {
	t.Helper()
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "mmdebstrap"), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	return t.TempDir()
}

func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range left {
		if !strings.HasSuffix(f.Name(), ".lock") {
			t.Errorf("%s is left behind", f.Name())
		}
	}
}

// TestBuildIsReproducible builds the shell image twice at once.
func TestBuildIsReproducible(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a Debian root twice")
	}
	_, err := exec.LookPath("mmdebstrap")
	if os.Getuid() != 0 {
		err = errors.Join(err, errors.New("root rights"))
	}
	testenv.Need(t, "images", err)
	var ids [2]jobspec.ImageID
	var paths [2]string
	g, ctx := errgroup.WithContext(t.Context())
	for i := range ids {
		out := t.TempDir()
		g.Go(func() (err error) {
			paths[i], ids[i], err = stock.Build(ctx, stock.Config{Name: "shell", Out: out})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if ids[0] != ids[1] {
		t.Errorf("two builds of one recipe are %s and %s; compare %v", ids[0], ids[1], paths)
	}
	t.Setenv("PATH", t.TempDir()) // nothing that builds is found from here on
	_, again, err := stock.Build(t.Context(), stock.Config{Name: "shell", Out: filepath.Dir(paths[0])})
	if err != nil || again != ids[0] {
		t.Errorf("Build from the cache = %s, %v, want %s", again, err, ids[0])
	}
	if _, _, err := stock.Build(t.Context(), stock.Config{Name: "shell", Out: t.TempDir()}); err == nil {
		t.Error("control: an image is built without mmdebstrap")
	}
	if info, err := os.Stat(paths[0]); err != nil || info.Size() > 120<<20 {
		t.Errorf("the shell image is %v bytes (%v), want less than 120 MiB", info.Size(), err)
	}
}
