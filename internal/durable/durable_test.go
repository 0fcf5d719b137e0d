package durable_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/ipdc/ipdc/internal/durable"
	"github.com/ipdc/ipdc/internal/faultfs"
)

func TestMain(m *testing.M) {
	faultfs.Serve()
	os.Exit(m.Run())
}

// The power goes at each sync of a write: there is the old file or the new one,
// and the new one once the write has returned.
func TestF25ReplacedWhole(t *testing.T) {
	d := faultfs.New(t)
	path := filepath.Join(d.Dir, "file")
	left := func(seed uint64) string {
		dir := t.TempDir()
		d.Lose(dir, seed)
		b, err := os.ReadFile(filepath.Join(dir, "file"))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if err := durable.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	done := false
	for n := 0; !done; n++ {
		d.CutAfter(n)
		done = durable.WriteFile(path, []byte("new"), 0o600) == nil
		for seed := range uint64(8) {
			if got := left(seed); got != "new" && (done || got != "old") {
				t.Errorf("cut at sync %d, seed %d: the file holds %q, written: %t", n, seed, got, done)
			}
		}
		d.Mend()
		if err := durable.WriteFile(path, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// The control: with the rename alone the file is lost, or empty.
	if err := os.WriteFile(path+".tmp", []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		t.Fatal(err)
	}
	lost := false
	for seed := range uint64(8) {
		got := left(seed)
		lost = lost || got != "new"
	}
	if !lost {
		t.Error("control: a file that was renamed only is there after each power loss")
	}
}

// A write that fails leaves the old file, and nothing beside it.
func TestF16F20F21FailedWriteLeavesTheOldFile(t *testing.T) {
	d := faultfs.New(t)
	path := filepath.Join(d.Dir, "file")
	if err := durable.WriteFile(path, []byte("old"), 0o640); err != nil {
		t.Fatal(err)
	}
	for _, f := range []faultfs.Fault{
		{Op: faultfs.Create, Errno: syscall.ENOSPC},
		{Op: faultfs.Write, Errno: syscall.ENOSPC},
		{Op: faultfs.Sync, Errno: syscall.EIO},
		{Op: faultfs.Rename, Errno: syscall.EROFS},
	} {
		d.Fail(f)
		err := durable.WriteFile(path, []byte("new"), 0o600)
		d.Mend()
		b, rerr := os.ReadFile(path)
		list, lerr := os.ReadDir(d.Dir)
		if err == nil || string(b) != "old" || rerr != nil || len(list) != 1 || lerr != nil {
			t.Errorf("%s fails: WriteFile = %v, the file holds %q beside %d others; %v %v", f.Op, err, b, len(list)-1, rerr, lerr)
		}
	}
}
