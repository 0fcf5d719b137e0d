package dir_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
