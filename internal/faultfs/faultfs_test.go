package faultfs_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/ipdc/ipdc/internal/faultfs"
)

func TestMain(m *testing.M) {
	faultfs.Serve()
	os.Exit(m.Run())
}

func write(t *testing.T, path, text string, sync bool) error {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err == nil && sync {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncDir(t *testing.T, path string) {
	t.Helper()
	d, err := os.Open(path)
	if err == nil {
		err = errors.Join(d.Sync(), d.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A power loss takes what was not synced, and names whose directory was not.
func TestLose(t *testing.T) {
	d := faultfs.New(t)
	at := func(name string) string { return filepath.Join(d.Dir, name) }
	left := func(name string) string {
		dir := t.TempDir()
		d.Lose(dir, 0)
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return "none"
		}
		return string(b)
	}
	step := func(name string, err error, file, want string) {
		t.Helper()
		if got := left(file); err != nil || got != want {
			t.Errorf("%s: %s holds %q, want %q; %v", name, file, got, want, err)
		}
	}
	step("written", write(t, at("a"), "one", false), "a", "none")
	step("synced", write(t, at("a"), "two", true), "a", "none")
	syncDir(t, d.Dir)
	step("its directory synced", nil, "a", "two")
	step("written again", write(t, at("a"), "three", false), "a", "two")
	step("renamed", errors.Join(write(t, at("b"), "four", true), os.Rename(at("b"), at("a"))), "a", "two")
	syncDir(t, d.Dir)
	step("its directory synced", nil, "a", "four")
	step("a directory's name", errors.Join(os.Mkdir(at("sub"), 0o755), write(t, at("sub/x"), "x", true)), "sub/x", "none")
	syncDir(t, at("sub"))
	step("what is in it", nil, "sub/x", "none")
	syncDir(t, d.Dir)
	step("both", nil, "sub/x", "x")
	step("removed", os.Remove(at("a")), "a", "four")
}

// Each fault is met, and only by what it names.
func TestFaults(t *testing.T) {
	d := faultfs.New(t)
	at := func(name string) string { return filepath.Join(d.Dir, name) }
	d.Fail(faultfs.Fault{Op: faultfs.Sync, Name: "bad", Skip: 1, Errno: syscall.EIO})
	if err := errors.Join(write(t, at("good"), "x", true), write(t, at("bad"), "x", true)); err != nil {
		t.Errorf("before the fault: %v", err)
	}
	if err := write(t, at("bad"), "x", true); !errors.Is(err, syscall.EIO) || d.Hits() != 1 {
		t.Errorf("the second sync = %v after %d hits, want EIO after one", err, d.Hits())
	}
	d.Mend()
	d.Fail(faultfs.Fault{Op: faultfs.Read, Errno: syscall.EIO})
	if _, err := os.ReadFile(at("good")); !errors.Is(err, syscall.EIO) {
		t.Errorf("read = %v, want EIO", err)
	}
	d.Mend()
	d.Fail(faultfs.Fault{Op: faultfs.Change, Errno: syscall.EROFS})
	if err := errors.Join(write(t, at("new"), "x", false), os.Remove(at("good")), os.Rename(at("good"), at("c"))); !errors.Is(err, syscall.EROFS) {
		t.Errorf("changes of a read-only disk = %v", err)
	}
	if b, err := os.ReadFile(at("good")); err != nil || string(b) != "x" {
		t.Errorf("reading it = %q, %v", b, err)
	}
	d.Mend()
	d.CutAfter(1)
	if err := errors.Join(write(t, at("one"), "x", true), write(t, at("two"), "x", false)); err != nil {
		t.Errorf("before the cut: %v", err)
	}
	if err := write(t, at("three"), "x", true); !errors.Is(err, syscall.EIO) {
		t.Errorf("at the cut = %v, want EIO", err)
	}
	if err := write(t, at("four"), "x", false); !errors.Is(err, syscall.EIO) {
		t.Errorf("after the cut = %v, want EIO", err)
	}
}
