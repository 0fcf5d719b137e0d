package stage_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/ipfs/ipfstest"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/ipfs/stage"
)

// A disk without space, or without inodes, ends staging with an error that says
// so, and nothing of the input is left on it.
func TestF17F20FullDisk(t *testing.T) {
	testenv.Root(t)
	src := t.TempDir()
	for i := range 60 {
		data := bytes.Repeat([]byte{byte(i)}, 128<<10)
		if err := os.WriteFile(filepath.Join(src, fmt.Sprint(i)), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	m := ipfstest.NewMemory()
	root, err := pack.Tree(t.Context(), m, src, pack.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for options, fits := range map[string]bool{"size=4m": false, "nr_inodes=40": false, "size=64m": true} {
		dir := t.TempDir()
		testenv.Need(t, "root", unix.Mount("tmpfs", dir, "tmpfs", 0, options))
		t.Cleanup(func() {
			if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
		_, err := stage.Dir(t.Context(), m, root.CID, filepath.Join(dir, "dest"), stage.Options{})
		left, lerr := os.ReadDir(dir)
		if lerr != nil {
			t.Fatal(lerr)
		}
		switch {
		case fits && (err != nil || len(left) != 1):
			t.Errorf("%s: Dir = %v, %d names, want the input there", options, err, len(left))
		case !fits && (!errors.Is(err, syscall.ENOSPC) || len(left) > 0):
			t.Errorf("%s: Dir = %v, %d names are left, want ENOSPC and none", options, err, len(left))
		}
	}
}
