package sidecar_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/ipfs/attach"
	"github.com/ipdc/ipdc/ipfs/car"
	"github.com/ipdc/ipdc/ipfs/embedded"
	"github.com/ipdc/ipdc/ipfs/ipfstest"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar"
	"github.com/ipdc/ipdc/wire"
)

// attachedBench is a sidecar beside attached files.
type attachedBench struct {
	*bench
	set *attach.Set
}

func newAttachedBench(t *testing.T) attachedBench {
	t.Helper()
	dir := t.TempDir()
	set, err := attach.Open(t.Context(), attach.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := set.Close(); err != nil {
			t.Error(err)
		}
	})
	b := newBench(t, func(c *embedded.Config) { c.Beside = set })
	b.attached = set
	b.restart()
	return attachedBench{b, set}
}

// sector attaches a CAR of files of so many bytes each, and returns its root.
func (b attachedBench) sector(name string, files, size int) (path string, root jobspec.CID) {
	b.t.Helper()
	dir, mem := b.t.TempDir(), ipfstest.NewMemory()
	for i := range files {
		data := bytes.Repeat(fmt.Appendf(nil, "%s %05d\n", name, i), size/8)[:size]
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("f%03d", i)), data, 0o644); err != nil {
			b.t.Fatal(err)
		}
	}
	res, err := pack.Tree(b.t.Context(), mem, dir, pack.Options{})
	if err != nil {
		b.t.Fatal(err)
	}
	path = filepath.Join(b.t.TempDir(), name+".car")
	f, err := os.Create(path)
	if err == nil {
		_, err = car.WriteOnce(b.t.Context(), f, mem, res.CID)
		err = errors.Join(err, f.Chmod(0o644), f.Close())
	}
	if err != nil {
		b.t.Fatal(err)
	}
	out, err := b.set.Attach(b.t.Context(), b.ipfs, path, "")
	if err != nil || out.Root != res.CID {
		b.t.Fatalf("Attach = %+v, %v, want root %s", out, err, res.CID)
	}
	return path, res.CID
}

// staged is how many bytes of files lie in a cache.
func (b attachedBench) staged(name string) (total int64) {
	b.t.Helper()
	err := filepath.WalkDir(filepath.Join(b.dir, name), func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil // it goes while it is looked at
		}
		if info, err := d.Info(); err == nil && info.Size() > 512 {
			total += info.Size()
		}
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return total
}

// overItems is a job that does nothing with each of these files.
func overItems(root string, paths []string) jobspec.Spec {
	var report strings.Builder
	for _, p := range paths {
		fmt.Fprintf(&report, "{\"type\":\"item\",\"path\":%q,\"outputs\":[]}\n", p)
	}
	s := spec("DUMMY_WRITE_REPORT=/ipdc/report/report.jsonl:" + report.String())
	s.Inputs = []jobspec.Input{{CID: root}}
	s.Run.Per, s.Run.Feed = jobspec.PerItem, jobspec.FeedList
	return s
}

// Items of an attached file come in batches with directories of their own, which
// go with their tasks: never is more than a small part of the file staged.
func TestAttachedItemsInSmallBatches(t *testing.T) {
	b := newAttachedBench(t)
	const files, size = 64, 1 << 20
	_, root := b.sector("big", files, size)
	most := int64(0)
	b.wrap = watchCreate(func() { most = max(most, b.staged("inputs")) })
	b.restart()
	var paths []string
	for i := range files {
		paths = append(paths, fmt.Sprintf("f%03d", i))
	}
	j := b.final(b.submit(overItems(root.String(), paths)))
	if j.State != jobspec.JobSucceeded {
		t.Fatalf("job is %s: %+v", j.State, j.Failure)
	}
	if len(j.Tasks) < 25 {
		t.Errorf("%d tasks, want small ones", len(j.Tasks))
	}
	if limit := int64(5 * files * size / 100); most == 0 || most > limit {
		t.Errorf("%d bytes of %d were staged at once, want at most %d", most, files*size, limit)
	}
	b.stop()
	if left := b.staged("inputs"); left != 0 {
		t.Errorf("%d bytes are still staged", left)
	}
	if st, err := b.ipfs.Stat(t.Context()); err != nil || st.Bytes > files*size/20 {
		t.Errorf("the node stored %d bytes of its own, %v", st.Bytes, err)
	}
	// The control: the same items, not attached, are staged as a whole.
	c := newBench(t)
	if j := c.final(c.submit(overItems(c.input(paths...), paths))); j.State != jobspec.JobSucceeded || len(j.Tasks) > 2 {
		t.Errorf("job is %s with %d tasks over items that are stored here, want as many as slots: %+v", j.State, len(j.Tasks), j.Failure)
	}
}

// A file that is damaged fails the job that reads it, with its name, and the node
// stays up and runs others.
func TestJobOverDamagedFile(t *testing.T) {
	b := newAttachedBench(t)
	path, root := b.sector("bad", 4, 4096)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt([]byte("x"), 2000)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	s := spec("DUMMY_WRITE=/outputs/a:x")
	s.Inputs = []jobspec.Input{{CID: root.String()}}
	j := b.final(b.submit(s))
	if j.State != jobspec.JobFailed || j.Failure == nil || !strings.Contains(j.Failure.Detail, path) || !strings.Contains(j.Failure.Hint, "ipdc data verify") {
		t.Errorf("job is %s: %+v, want a failure that names %s", j.State, j.Failure, path)
	}
	_, fine := b.sector("fine", 4, 4096)
	s.Inputs[0].CID = fine.String()
	if j := b.final(b.submit(s)); j.State != jobspec.JobSucceeded {
		t.Errorf("a job over another file is %s: %+v", j.State, j.Failure)
	}
}

// With as: car the program sees the attached file itself, without a copy, and
// nothing is left of the mount.
func TestAttachedFileIsMounted(t *testing.T) {
	testenv.Root(t)
	b := newAttachedBench(t)
	path, root := b.sector("whole", 40, 64<<10)
	mounted := false
	b.wrap = watchCreate(func() {
		shown, _ := filepath.Glob(filepath.Join(b.dir, "run", "*", "car", "inputs.car"))
		for _, at := range shown {
			st, err := os.Stat(at)
			now, err2 := os.Stat(path)
			mounted = mounted || err == nil && err2 == nil && os.SameFile(st, now)
			if f, err := os.OpenFile(at, os.O_WRONLY, 0); err == nil {
				f.Close()
				t.Error("the mounted file can be written to")
			}
		}
	})
	b.restart()
	s := spec("DUMMY_COPY=/inputs.car:/outputs/copy.car")
	s.Inputs = []jobspec.Input{{CID: root.String(), As: jobspec.AsCAR}}
	s.Split.By = jobspec.SplitNone
	j := b.final(b.submit(s))
	if j.State != jobspec.JobSucceeded || !mounted {
		t.Fatalf("job is %s, mounted %v: %+v", j.State, mounted, j.Failure)
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.outputs(j.Result)["copy.car"]; got != string(want) {
		t.Errorf("the program saw %d bytes, other than the file's %d", len(got), len(want))
	}
	if n := b.staged("cars"); n != 0 {
		t.Errorf("%d bytes were copied", n)
	}
	b.stop()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), b.dir) {
		t.Errorf("a mount below %s is left, %v", b.dir, err)
	}
	if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, want) {
		t.Errorf("the file itself was touched: %v", err)
	}
}

// The mount is of the file that was checked, also when its path leads to another
// one by then. With a mount by path, which is the control, it is not.
func TestBindIsOfTheOpenFile(t *testing.T) {
	testenv.Root(t)
	dir := t.TempDir()
	path, secret := filepath.Join(dir, "a.car"), filepath.Join(dir, "secret")
	if err := errors.Join(os.WriteFile(path, []byte("sector"), 0o644), os.WriteFile(secret, []byte("secret"), 0o600)); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := errors.Join(os.Rename(path, path+".moved"), os.Symlink(secret, path)); err != nil {
		t.Fatal(err)
	}
	read := func(bind *os.File) string {
		at := filepath.Join(t.TempDir(), "car", "inputs.car")
		if err := sidecar.BindFile(bind, at); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := sidecar.RemoveRunDir(filepath.Dir(filepath.Dir(at))); err != nil {
				t.Error(err)
			}
		}()
		data, err := os.ReadFile(at)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	if got := read(f); got != "sector" {
		t.Errorf("the mount shows %q, want what was opened", got)
	}
	by, err := os.Open(path) // as a mount by path would
	if err != nil {
		t.Fatal(err)
	}
	defer by.Close()
	if got := read(by); got != "secret" {
		t.Errorf("the control shows %q: the attack does not work", got)
	}
	if data, err := os.ReadFile(secret); err != nil || string(data) != "secret" {
		t.Errorf("removing the mount touched the file: %q, %v", data, err)
	}
}

// Where the process may not mount nothing is left in the mount's place, which
// would be taken for a file that has changed when the program has ended.
func TestBindWithoutRights(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "a.car"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	at := filepath.Join(dir, "run", "car", "inputs.car")
	ended := make(chan error)
	go func() {
		runtime.LockOSThread() // for ever: the thread is gone with its rights
		if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &make([]unix.CapUserData, 2)[0]); err != nil {
			ended <- err
			return
		}
		ended <- sidecar.BindFile(f, at)
	}()
	if err := <-ended; !errors.Is(err, unix.EPERM) {
		t.Errorf("BindFile = %v, want EPERM", err)
	}
	if _, err := os.Lstat(at); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s after a mount that was refused: %v, want none", at, err)
	}
}

// Attached blocks are held here: a job that needs all of its data at one node
// runs, and the plan says how much lies here.
func TestAttachedCountsAsLocal(t *testing.T) {
	b := newAttachedBench(t)
	path, root := b.sector("local", 4, 4096)
	s := spec("DUMMY_WRITE=/outputs/a:x")
	s.Inputs = []jobspec.Input{{CID: root.String()}}
	s.Place.Require = map[string]string{"data": "local"}
	if j := b.final(b.submit(s)); j.State != jobspec.JobSucceeded {
		t.Errorf("job is %s: %+v", j.State, j.Failure)
	}
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	if list := b.set.List(); len(list) != 1 || list[0].State != wire.AttachedGone {
		t.Fatalf("listed: %+v", list)
	}
	s.Name, s.Cache = "again", jobspec.CacheOff
	if j := b.final(b.submit(s)); j.State != jobspec.JobFailed || !strings.Contains(j.Failure.Detail, path) {
		t.Errorf("without the file the job is %s: %+v", j.State, j.Failure)
	}
	if ok := sidecar.ReadsAttached(t.Context(), b.ipfs, b.set, root); ok {
		t.Error("a file that is gone counts as one to read from")
	}
}

// watchCreate calls look, once at a time, before each container is made: then its
// input is staged.
func watchCreate(look func()) func(executor.Executor) executor.Executor {
	var mu sync.Mutex
	return func(e executor.Executor) executor.Executor {
		return &watched{e, func() {
			mu.Lock()
			defer mu.Unlock()
			look()
		}}
	}
}

type watched struct {
	executor.Executor
	look func()
}

func (w *watched) Create(ctx context.Context, t executor.Task) (executor.ID, error) {
	w.look()
	return w.Executor.Create(ctx, t)
}
