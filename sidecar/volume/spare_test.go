package volume_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/volume"
)

func spareNames(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "spare-") {
			names = append(names, e.Name())
		}
	}
	return names
}

// awaitSpares waits until there are n spares with their directories.
func awaitSpares(t *testing.T, dir string, n int) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); <-time.After(5 * time.Millisecond) {
		whole := 0
		for _, name := range spareNames(t, dir) {
			if _, err := os.Stat(filepath.Join(dir, name, "mnt", "report")); err == nil {
				whole++
			}
		}
		if whole == n && len(spareNames(t, dir)) == n {
			return
		}
	}
	t.Fatalf("spares = %q, want %d", spareNames(t, dir), n)
}

// A spare becomes an attempt's volume with the bounds and the owner that were
// asked for, and no spare stays behind.
func TestSpares(t *testing.T) {
	_, dir := open(t, volume.MethodExt4) // skips where ext4 cannot be mounted
	pool, err := volume.Open(t.Context(), volume.Config{Dir: dir, Method: volume.MethodExt4, Spares: 2})
	must(t, err)
	const first, second, third = "01kb0000000000000000000000-0-1", "01kb0000000000000000000000-0-2", "01kb0000000000000000000000-0-3"
	_, err = pool.Create(t.Context(), first, 4*jobspec.MiB, 50, 1000)
	must(t, err)
	if n := len(spareNames(t, dir)); n != 0 {
		t.Errorf("%d spares before anything was removed, want none", n)
	}
	must(t, pool.Remove(t.Context(), first))
	awaitSpares(t, dir, 2)

	vol, err := pool.Create(t.Context(), second, 4*jobspec.MiB, 50, 1234)
	must(t, err)
	if n := len(spareNames(t, dir)); n != 1 {
		t.Errorf("%d spares after one was taken, want 1", n)
	}
	info, err := os.Stat(vol.Outputs)
	must(t, err)
	if st := info.Sys().(*syscall.Stat_t); st.Uid != 1234 || info.Mode().Perm() != 0o700 {
		t.Errorf("outputs belong to %d with mode %o, want 1234 and 700", st.Uid, info.Mode().Perm())
	}
	if made, err := litter(vol.Outputs, 1000); err == nil || made < 50 || made > 60 {
		t.Errorf("%d files fit (%v), want some 50", made, err)
	}
	names, err := pool.List(t.Context())
	must(t, err)
	if len(names) != 1 || names[0] != second {
		t.Errorf("List = %q, want no spares", names)
	}

	// Other bounds: a new volume now, and spares like it afterwards.
	vol, err = pool.Create(t.Context(), third, 8*jobspec.MiB, 50, 1000)
	must(t, err)
	if n, err := fill(vol.Outputs, 64<<20); err == nil || n < 8<<20 {
		t.Errorf("%d bytes fit (%v), want some 8 MiB", n, err)
	}
	must(t, pool.Remove(t.Context(), third))
	awaitSpares(t, dir, 2)
	for _, name := range spareNames(t, dir) {
		if !strings.HasPrefix(name, "spare-8388608x50-") {
			t.Errorf("spare %s has bounds that nobody asked for", name)
		}
	}

	// A process that was killed leaves its spares to the next one.
	again, err := volume.Open(t.Context(), volume.Config{Dir: dir, Method: volume.MethodExt4})
	must(t, err)
	if left := spareNames(t, dir); len(left) > 0 {
		t.Errorf("spares of an earlier process stay: %q", left)
	}
	must(t, again.Close())
	must(t, pool.Remove(t.Context(), second))
	must(t, pool.Close())
	must(t, pool.Close())
	wantNothingLeft(t, dir)
}

// The second volume of the same bounds is made without mkfs. It is as empty and
// as large as the first one was.
func TestSecondVolumeIsMolded(t *testing.T) {
	pool, dir := open(t, volume.MethodExt4)
	mount, err := exec.LookPath("mount")
	must(t, err)
	const first, second, other = "01kb0000000000000000000000-0-1", "01kb0000000000000000000000-0-2", "01kb0000000000000000000000-0-3"
	vol, err := pool.Create(t.Context(), first, 4*jobspec.MiB, 50, 1000)
	must(t, err)
	want, wantErr := fill(vol.Outputs, 8<<20)

	bin := t.TempDir()
	must(t, os.Symlink(mount, filepath.Join(bin, "mount")))
	t.Setenv("PATH", bin)
	if _, err := pool.Create(t.Context(), other, 5*jobspec.MiB, 50, 1000); err == nil {
		t.Error("a volume of other bounds was made without mkfs, want an error")
	}
	vol, err = pool.Create(t.Context(), second, 4*jobspec.MiB, 50, 1000)
	must(t, err)
	entries, err := os.ReadDir(vol.Outputs)
	must(t, err)
	if len(entries) > 0 {
		t.Errorf("the second volume holds %v, want nothing", entries)
	}
	got, gotErr := fill(vol.Outputs, 8<<20)
	if got != want || !errors.Is(gotErr, syscall.ENOSPC) || !errors.Is(wantErr, syscall.ENOSPC) {
		t.Errorf("the second volume took %d bytes, %v; the first %d, %v", got, gotErr, want, wantErr)
	}
	for _, name := range []string{first, second} {
		must(t, pool.Remove(t.Context(), name))
	}
	wantNothingLeft(t, dir)
}
