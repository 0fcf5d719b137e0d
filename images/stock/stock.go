// Package stock builds the stock images from their recipes: a Debian root by
// mmdebstrap, turned into a docker-archive whose bytes depend on the recipe
// and on the packages only.
//
//	path, id, err := stock.Build(ctx, stock.Config{Name: "shell", Out: cacheDir})
//	f, err := os.Open(path)
//	got, err := store.Load(ctx, f, recipe.Tag()) // images.Store
//	// got == id
//
// Invariants: two builds of one recipe from the same packages give the same
// config digest, on any machine; an archive appears under its name only when
// it is whole; nothing of the host but its choice of mirror, package index and
// proxy is used, and none of them is left in the image.
package stock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipdc/ipdc/images"
	"github.com/ipdc/ipdc/jobspec"
)

// Config says what to build.
type Config struct {
	Name     string            // of a stock image: "shell"
	Out      string            // directory of archives, made when missing; serves as the cache
	Logger   *slog.Logger      // nil: no logs
	Index    string            // package index of wheels, with a password where it has one; "": pip's default
	CAFile   string            // PEM certificate authorities for the index, behind a site's own proxy; "": pip's
	Progress func(line string) // called with each step's sentence, from one goroutine; nil: none
}

// Build returns the path of the stock image's archive, "<Out>/<name>-<recipe
// hash>.tar", and its config digest. An archive that is there is used as it
// is. Otherwise it is built, which takes root rights (or user namespaces),
// Debian's packages, the wheels that the recipe names, and about a minute. Calls with the same Out, also of other
// processes, wait for each other.
//
// The error is of kind E_IMAGE_REF for an unknown name, and names the apt
// command where a tool is missing.
func Build(ctx context.Context, cfg Config) (path string, id jobspec.ImageID, err error) {
	r, ok := images.StockRecipe(cfg.Name)
	if !ok {
		return "", "", unknown(cfg.Name)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Progress == nil {
		cfg.Progress = func(string) {}
	}
	if err := os.MkdirAll(cfg.Out, 0o755); err != nil {
		return "", "", fmt.Errorf("make image cache: %w", err)
	}
	unlock, err := lock(ctx, filepath.Join(cfg.Out, r.Name+".lock"))
	if err != nil {
		return "", "", err
	}
	defer unlock()
	path = filepath.Join(cfg.Out, r.Name+"-"+r.Hash()+".tar")
	id, err = readID(path)
	if errors.Is(err, fs.ErrNotExist) {
		id, err = build(ctx, cfg, r, path)
	}
	if err != nil {
		return "", "", fmt.Errorf("build image %s: %w", r.Name, err)
	}
	return path, id, nil
}

func build(ctx context.Context, cfg Config, r images.Recipe, path string) (jobspec.ImageID, error) {
	start := time.Now()
	if err := sweep(cfg.Out, r.Name+buildInfix); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(cfg.Out, r.Name+buildInfix)
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	root := filepath.Join(dir, "rootfs.tar")
	if err := bootstrap(ctx, cfg, r, root); err != nil {
		return "", err
	}
	cfg.Progress("packing the image")
	tmp := filepath.Join(dir, "image.tar")
	id, size, err := pack(ctx, r, root, tmp)
	if err != nil {
		return "", err
	}
	if err := os.Rename(tmp, path); err != nil {
		return "", err
	}
	cfg.Logger.Info("image built", "image", r.Tag(), "id", id, "unpacked", size, "took", time.Since(start))
	return id, nil
}

// buildInfix is between an image's name and a random rest in the name of the
// directory that it is built in.
const buildInfix = "-build-"

// sweep removes what builds that were killed have left. The caller has the
// image's lock, so that none of it is in use.
func sweep(dir, prefix string) error {
	list, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range list {
		if strings.HasPrefix(e.Name(), prefix) {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return fmt.Errorf("remove an earlier build: %w", err)
			}
		}
	}
	return nil
}

// pack turns the root's tar at rootfs into an archive at path. The size is
// that of the image's one layer in bytes.
func pack(ctx context.Context, r images.Recipe, rootfs, path string) (jobspec.ImageID, int64, error) {
	in, err := os.Open(rootfs)
	if err != nil {
		return "", 0, err
	}
	defer in.Close()
	l, err := readLayer(ctx, in, time.Unix(r.Epoch, 0))
	if err != nil {
		return "", 0, fmt.Errorf("read %s: %w", filepath.Base(rootfs), err)
	}
	out, err := os.Create(path)
	if err != nil {
		return "", 0, err
	}
	defer out.Close()
	id, size, err := writeArchive(out, r, l)
	if err != nil {
		return "", 0, fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	if err := out.Sync(); err != nil {
		return "", 0, err
	}
	return id, size, out.Close()
}

// lock holds the lock file at path until the returned function is called. A
// process that dies lets go of it.
func lock(ctx context.Context, path string) (func(), error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("wait for another build: %w", context.Cause(ctx))
		case <-tick.C:
		}
	}
}

func unknown(name string) error {
	var names []string
	for _, r := range images.Stock() {
		names = append(names, r.Name)
	}
	return jobspec.Failure{
		Kind:   jobspec.KindImageRef,
		Detail: fmt.Sprintf("%q is not a stock image", name),
		Hint:   "the stock images are " + strings.Join(names, ", "),
	}.Error()
}
