package dir_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/delivery"
	"github.com/ipdc/ipdc/delivery/deliverytest"
	"github.com/ipdc/ipdc/delivery/dir"
)

func TestDir(t *testing.T) {
	deliverytest.Test(t, func(t *testing.T) deliverytest.Place {
		top := t.TempDir()
		t.Cleanup(func() { noLeftovers(t, top) })
		return deliverytest.Place{Store: dir.New(top, "nightly"), Read: func(path string) ([]byte, bool) {
			b, err := os.ReadFile(filepath.Join(top, "nightly", path))
			return b, err == nil
		}}
	})
}

func noLeftovers(t *testing.T, top string) {
	err := filepath.WalkDir(top, func(path string, _ fs.DirEntry, err error) error {
		if strings.HasPrefix(filepath.Base(path), ".ipdc-") {
			t.Errorf("%s is left", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestMissingDirectory(t *testing.T) {
	top := filepath.Join(t.TempDir(), "mount")
	err := dir.New(top, "").Put(t.Context(), "a", deliverytest.File([]byte("x")))
	if err == nil || !strings.Contains(err.Error(), "is not there") {
		t.Errorf("Put = %v, want that the directory is not there", err)
	}
	if _, err := os.Stat(top); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory was made: %v", err)
	}
}

// Links that lead out of the directory are not followed, neither in the path
// of the outlet nor below it; one that stays inside is.
func TestLinksOut(t *testing.T) {
	outside, top := t.TempDir(), t.TempDir()
	for link, target := range map[string]string{"out": outside, "in": "real", "file": filepath.Join(outside, "victim")} {
		if err := os.Symlink(target, filepath.Join(top, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(top, "real"), 0o755); err != nil {
		t.Fatal(err)
	}
	f := deliverytest.File([]byte("x"))
	if err := dir.New(top, "out").Put(t.Context(), "a", f); err == nil {
		t.Error("Put below a link that leads out = nil")
	}
	if err := dir.New(top, "").Put(t.Context(), "out/a", f); err == nil {
		t.Error("Put of a path through a link that leads out = nil")
	}
	if err := dir.New(top, "").Put(t.Context(), "file", f); err != nil { // the link is replaced
		t.Errorf("Put in place of a link = %v", err)
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) != 0 {
		t.Errorf("outside there is %v, %v, want nothing", entries, err)
	}
	if err := dir.New(top, "").Put(t.Context(), "in/a", f); err != nil { // the control
		t.Errorf("Put through a link that stays inside = %v", err)
	}
}

// during calls f when the content is read, and then gives it.
func during(content string, f func()) delivery.File {
	file := deliverytest.File([]byte(content))
	open := file.Open
	file.Open = func(ctx context.Context) (io.ReadCloser, error) {
		r, err := open(ctx)
		return &hooked{r, f}, err
	}
	return file
}

type hooked struct {
	io.ReadCloser
	f func()
}

func (h *hooked) Read(p []byte) (int, error) {
	if h.f != nil {
		h.f()
		h.f = nil
	}
	return h.ReadCloser.Read(p)
}

// What a kill left of a file is gone when it is put again. A link of that name
// is not written through, and two do not write a file at the same time.
func TestKilledPut(t *testing.T) {
	top := t.TempDir()
	st := dir.New(top, "")
	var tmp string
	err := st.Put(t.Context(), "a", during("one", func() {
		found, _ := filepath.Glob(filepath.Join(top, ".ipdc-*"))
		if len(found) != 1 {
			t.Fatalf("temporary files: %v, want one", found)
		}
		tmp = found[0]
		if err := st.Put(t.Context(), "a", deliverytest.File([]byte("two"))); err == nil || !strings.Contains(err.Error(), "another delivery") {
			t.Errorf("a second Put at the same time = %v", err)
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	victim := filepath.Join(top, "victim")
	for _, make := range []func() error{
		func() error { return os.WriteFile(tmp, []byte("half of what was sent"), 0o600) },
		func() error {
			return errors.Join(os.WriteFile(victim, []byte("mine"), 0o600), os.Symlink("victim", tmp))
		},
		func() error { return os.Link(victim, tmp) },
	} {
		if err := make(); err != nil {
			t.Fatal(err)
		}
		if err := st.Put(t.Context(), "a", deliverytest.File([]byte("three"))); err != nil {
			t.Error(err)
		}
	}
	if b, err := os.ReadFile(victim); err != nil || string(b) != "mine" {
		t.Errorf("the file behind the link has %q, %v", b, err)
	}
	if b, err := os.ReadFile(filepath.Join(top, "a")); err != nil || string(b) != "three" {
		t.Errorf("a has %q, %v", b, err)
	}
	noLeftovers(t, top)
}
