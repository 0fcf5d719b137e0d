package durable_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ipdc/ipdc/internal/durable"
)

// What a killed process left goes, and nothing else: a lock ends with its
// process, which a file that is closed stands for.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	other := filepath.Join(dir, ".new-1")
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".ipdc-new-1"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	left, _, err := durable.TempDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(left.Name(), "s"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_ = left.Close()
	made, done, err := durable.TempDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := durable.Sweep(dir); err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir); len(got) != 2 || got[filepath.Base(made.Name())] == nil || got[".new-1"] == nil {
		t.Errorf("after Sweep there is %v, want what is worked on and what is another's", got)
	}
	done()
	done()
	if got := names(t, dir); len(got) != 1 {
		t.Errorf("after done there is %v", got)
	}
}

// Where the file system has no locks a file is one's own. A descriptor that is
// good for a path only stands for such a file.
func TestClaimWithoutLocks(t *testing.T) {
	path := filepath.Join(t.TempDir(), ".ipdc-new-1")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, unix.O_PATH, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); !errors.Is(err, unix.EBADF) {
		t.Fatalf("control: to lock it is %v, want %v", err, unix.EBADF)
	}
	if ours, err := durable.Claim(f); !ours || err != nil {
		t.Errorf("claim = %t, %v, want ours", ours, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if ours, err := durable.Claim(f); ours || err != nil {
		t.Errorf("claim of what is gone = %t, %v, want not ours", ours, err)
	}
}

// Writers do not fail for a Sweep, at whatever moment it comes.
func TestSweepBesideWriters(t *testing.T) {
	dir := t.TempDir()
	stop := make(chan struct{})
	var sweeper, writers sync.WaitGroup
	sweeper.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := durable.Sweep(dir); err != nil {
				t.Errorf("Sweep = %v", err)
				return
			}
		}
	})
	const files, times = 4, 50
	for n := range files {
		writers.Go(func() {
			path := filepath.Join(dir, fmt.Sprint("file", n))
			for range times {
				if err := durable.WriteFile(path, []byte(path), 0o600); err != nil {
					t.Errorf("WriteFile = %v", err)
				}
				_, done, err := durable.TempDir(dir)
				if err != nil {
					t.Errorf("TempDir = %v", err)
					continue
				}
				done()
			}
		})
	}
	writers.Wait()
	close(stop)
	sweeper.Wait()
	if got := names(t, dir); len(got) != files {
		t.Errorf("there is %v, want %d files", got, files)
	}
}

// Of several that make a file one does, and the others leave it as it is.
func TestCreateFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	var makers sync.WaitGroup
	made := make(chan string, 8)
	for n := range cap(made) {
		makers.Go(func() {
			text := fmt.Sprint(n)
			switch err := durable.CreateFile(path, []byte(text), 0o600); {
			case err == nil:
				made <- text
			case !errors.Is(err, fs.ErrExist):
				t.Errorf("CreateFile = %v", err)
			}
		})
	}
	makers.Wait()
	b, err := os.ReadFile(path)
	if err != nil || len(made) != 1 || string(b) != <-made {
		t.Errorf("the file holds %q, %v, and %d made it", b, err, len(made)+1)
	}
	if got := names(t, dir); len(got) != 1 || got["key"].Mode() != 0o600 {
		t.Errorf("there is %v", got)
	}
}

func names(t *testing.T, dir string) map[string]fs.FileInfo {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]fs.FileInfo{}
	for _, e := range list {
		if all[e.Name()], err = e.Info(); err != nil {
			t.Fatal(err)
		}
	}
	return all
}
