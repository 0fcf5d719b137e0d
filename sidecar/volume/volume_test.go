package volume_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/volume"
)

const (
	childEnv = "VOLUME_TEST_DIR"
	name     = "01k0aaaaaaaaaaaaaaaaaaaaaa-0-1"
	uid      = 23456
)

// TestMain makes a volume and kills itself when a test asks for it.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		pool, err := volume.Open(context.Background(), volume.Config{Dir: dir})
		if err == nil {
			var vol volume.Volume
			vol, err = pool.Create(context.Background(), name, 4*jobspec.MiB, 100, uid)
			err = errors.Join(err, os.WriteFile(filepath.Join(vol.Outputs, "kept"), []byte("data"), 0o644))
		}
		fmt.Print(err)
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	goleak.VerifyTestMain(m)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// open returns a pool whose volumes are removed at the end; the inventory of
// mounts, loop devices and files must then be as before (I5).
func open(t *testing.T, method string) (*volume.Pool, string) {
	t.Helper()
	if method == volume.MethodExt4 {
		testenv.Root(t)
	}
	dir := filepath.Join(t.TempDir(), "volumes")
	t.Cleanup(func() { wantNothingLeft(t, dir) })
	pool, err := volume.Open(t.Context(), volume.Config{Dir: dir, Method: method, Poll: 5 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
	must(t, err)
	if pool.Method() != method {
		t.Fatalf("Method() = %s, want %s", pool.Method(), method)
	}
	t.Cleanup(func() {
		names, err := pool.List(context.Background())
		must(t, err)
		for _, n := range names {
			must(t, pool.Remove(context.Background(), n))
		}
	})
	return pool, dir
}

func wantNothingLeft(t *testing.T, dir string) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	if strings.Contains(string(mounts), dir) {
		t.Errorf("a mount below %s is left", dir)
	}
	backing, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, b := range backing {
		if file, err := os.ReadFile(b); err == nil && strings.Contains(string(file), dir) {
			t.Errorf("%s is left: %s", b, file)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) || len(entries) != 0 {
		t.Errorf("files left in %s: %v, %v", dir, entries, err)
	}
}

func create(t *testing.T, pool *volume.Pool, size jobspec.Bytes, inodes int64) volume.Volume {
	t.Helper()
	vol, err := pool.Create(t.Context(), name, size, inodes, uid)
	must(t, err)
	return vol
}

// fill writes one file in dir until it fails or holds limit bytes.
func fill(dir string, limit int64) (written int64, err error) {
	f, err := os.Create(filepath.Join(dir, "fill"))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	chunk := bytes.Repeat([]byte{'x'}, 64<<10)
	for written < limit && err == nil {
		var n int
		n, err = f.Write(chunk)
		written += int64(n)
	}
	return written, err
}

// litter makes empty files in dir until it fails or there are limit of them.
func litter(dir string, limit int) (made int, err error) {
	for made < limit {
		f, err := os.Create(filepath.Join(dir, strconv.Itoa(made)))
		if err != nil {
			return made, err
		}
		f.Close()
		made++
	}
	return made, nil
}

func TestBounds(t *testing.T) {
	const size, inodes = 8 * jobspec.MiB, 200
	t.Run("R04 bytes", func(t *testing.T) {
		if n, err := fill(t.TempDir(), 2*int64(size)); err != nil || n < 2*int64(size) {
			t.Fatalf("positive control: a plain directory takes %d bytes: %v", n, err)
		}
		pool, dir := open(t, volume.MethodExt4)
		vol := create(t, pool, size, inodes)
		wantFull(t, pool, false)
		n, err := fill(vol.Outputs, 2*int64(size))
		if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("write = %v, want ENOSPC", err)
		}
		if limit := int64(size + size/16); n < int64(size) || n > limit {
			t.Errorf("%d bytes fit, want %d to %d", n, size, limit)
		}
		wantFull(t, pool, true)
		var st syscall.Stat_t
		must(t, syscall.Stat(filepath.Join(dir, name, "image"), &st))
		if took, limit := st.Blocks*512, int64(size+size/16); took > limit {
			t.Errorf("the image takes %d bytes of the host, want at most %d", took, limit)
		}
	})
	t.Run("R06 inodes", func(t *testing.T) {
		if n, err := litter(t.TempDir(), 2*inodes); err != nil || n < 2*inodes {
			t.Fatalf("positive control: a plain directory takes %d files: %v", n, err)
		}
		pool, _ := open(t, volume.MethodExt4)
		vol := create(t, pool, size, inodes)
		n, err := litter(vol.Outputs, 2*inodes)
		if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("create = %v, want ENOSPC", err)
		}
		if n < inodes || n > inodes+32 {
			t.Errorf("%d files fit, want %d to %d", n, inodes, inodes+32)
		}
		wantFull(t, pool, true)
	})
}

func wantFull(t *testing.T, pool *volume.Pool, want bool) {
	t.Helper()
	full, err := pool.Full(t.Context(), name)
	must(t, err)
	if full != want {
		t.Errorf("Full() = %v, want %v", full, want)
	}
}

func TestCreateIsIdempotent(t *testing.T) {
	for _, method := range []string{volume.MethodExt4, volume.MethodWatchdog} {
		t.Run(method, func(t *testing.T) {
			pool, dir := open(t, method)
			vol := create(t, pool, 4*jobspec.MiB, 100)
			must(t, os.WriteFile(filepath.Join(vol.Outputs, "kept"), []byte("data"), 0o644))
			again, err := volume.Open(t.Context(), volume.Config{Dir: dir, Method: method})
			must(t, err)
			if same := create(t, again, 4*jobspec.MiB, 100); same != vol {
				t.Errorf("Create again = %v, want %v", same, vol)
			}
			if b, err := os.ReadFile(filepath.Join(vol.Outputs, "kept")); string(b) != "data" {
				t.Errorf("after Create again the file holds %q: %v", b, err)
			}
			names, err := pool.List(t.Context())
			must(t, err)
			if diff := cmp.Diff([]string{name}, names); diff != "" {
				t.Errorf("List (-want +got):\n%s", diff)
			}
			must(t, pool.Remove(t.Context(), name))
			must(t, pool.Remove(t.Context(), name))
			wantNothingLeft(t, dir)
		})
	}
}

func TestSurvivesKilledProcess(t *testing.T) {
	pool, dir := open(t, volume.MethodExt4)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	out, err := cmd.Output()
	if cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL || string(out) != "<nil>" {
		t.Fatalf("child: %v: %s", err, out)
	}
	names, err := pool.List(t.Context())
	must(t, err)
	if diff := cmp.Diff([]string{name}, names); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
	vol := create(t, pool, 4*jobspec.MiB, 100)
	if b, err := os.ReadFile(filepath.Join(vol.Outputs, "kept")); string(b) != "data" {
		t.Errorf("the volume of the killed process holds %q: %v", b, err)
	}
}

// A process that was killed in the middle of Create leaves a volume without a
// record; one that lost its mount to a restart must not come back empty.
func TestIncompleteAndLostVolumes(t *testing.T) {
	pool, dir := open(t, volume.MethodExt4)
	must(t, os.MkdirAll(filepath.Join(dir, name, "mnt"), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, name, "image"), []byte("half"), 0o600))
	vol := create(t, pool, 4*jobspec.MiB, 100)
	if _, err := fill(vol.Outputs, 1); err != nil {
		t.Errorf("write to a volume made over leftovers: %v", err)
	}
	must(t, syscall.Unmount(filepath.Dir(vol.Outputs), 0))
	_, err := pool.Create(t.Context(), name, 4*jobspec.MiB, 100, uid)
	if !errors.Is(err, jobspec.KindLost.Error()) {
		t.Errorf("Create of a volume whose mount is gone = %v, want kind lost", err)
	}
}

func TestReadOnly(t *testing.T) {
	pool, _ := open(t, volume.MethodExt4)
	vol := create(t, pool, 4*jobspec.MiB, 100)
	f, err := os.Create(filepath.Join(vol.Outputs, "open"))
	must(t, err)
	if err := pool.ReadOnly(t.Context(), name); !errors.Is(err, jobspec.KindConflict.Error()) {
		t.Errorf("ReadOnly with a writer left = %v, want kind E_CONFLICT", err)
	}
	_, err = f.WriteString("last words")
	must(t, errors.Join(err, f.Close()))
	must(t, pool.ReadOnly(t.Context(), name))
	must(t, pool.ReadOnly(t.Context(), name))
	// With barriers this would have been an fsync of the file below, too.
	if mounts, err := os.ReadFile("/proc/self/mounts"); err != nil || !regexp.MustCompile(regexp.QuoteMeta(filepath.Dir(vol.Outputs))+` ext4 \S*\bnobarrier\b`).Match(mounts) {
		t.Errorf("the volume is not mounted with nobarrier: %v\n%s", err, mounts)
	}
	if _, err := fill(vol.Outputs, 1); !errors.Is(err, syscall.EROFS) {
		t.Errorf("write to a read-only volume = %v, want EROFS", err)
	}
	if b, err := os.ReadFile(filepath.Join(vol.Outputs, "open")); string(b) != "last words" {
		t.Errorf("the file holds %q: %v", b, err)
	}
}

func TestF74RemoveWhileInUse(t *testing.T) {
	pool, dir := open(t, volume.MethodExt4)
	vol := create(t, pool, 4*jobspec.MiB, 100)
	f, err := os.Create(filepath.Join(vol.Outputs, "held"))
	must(t, err)
	must(t, pool.Remove(t.Context(), name))
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	if strings.Contains(string(mounts), dir) {
		t.Error("the mount is still there")
	}
	must(t, f.Close())
	must(t, pool.Remove(t.Context(), name))
}

func TestOnlyItsUserMayEnter(t *testing.T) {
	pool, _ := open(t, volume.MethodExt4)
	vol := create(t, pool, 4*jobspec.MiB, 100)
	outputs, err := os.Open(vol.Outputs)
	must(t, err)
	defer outputs.Close()
	touch := func(uid uint32, path string) error {
		cmd := exec.Command("touch", path+"/file-"+strconv.Itoa(int(uid)))
		cmd.ExtraFiles = []*os.File{outputs} // stands for the bind mount: no parents to pass
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		return cmd.Run()
	}
	if err := touch(uid, "/proc/self/fd/3"); err != nil {
		t.Errorf("positive control: its own user cannot write: %v", err)
	}
	if err := touch(uid+1, "/proc/self/fd/3"); err == nil {
		t.Error("another user may write to the volume")
	}
	if err := touch(uid, vol.Outputs); err == nil {
		t.Error("a user of the host reaches the volume through its parents")
	}
	entries, err := os.ReadDir(filepath.Dir(vol.Outputs))
	must(t, err)
	if len(entries) != 2 {
		t.Errorf("the volume holds %v, want outputs and report", entries)
	}
}

func TestNamesAreAttemptIDs(t *testing.T) {
	pool, _ := open(t, volume.MethodWatchdog)
	for _, bad := range []string{"", ".", "..", "../x", "probe", name + "/..", strings.ToUpper(name), "01k0aaaaaaaaaaaaaaaaaaaaaa-00-1"} {
		if _, err := pool.Create(t.Context(), bad, 1, 1, uid); err == nil {
			t.Errorf("Create(%q) succeeds", bad)
		}
		if err := pool.Remove(t.Context(), bad); err == nil {
			t.Errorf("Remove(%q) succeeds", bad)
		}
	}
}
