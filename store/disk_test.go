package store_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
)

// tmpfs mounts a small file system of its own.
func tmpfs(t *testing.T, options string) (dir string) {
	t.Helper()
	testenv.Root(t)
	dir = t.TempDir()
	err := unix.Mount("tmpfs", dir, "tmpfs", 0, options)
	testenv.Need(t, "root", err)
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// put writes a job with three events of it.
func put(t *testing.T, st *store.Store, name string) (jobspec.JobID, error) {
	job := newJob("local", name)
	return job.ID, st.Update(t.Context(), func(tx *store.Tx) error {
		err := tx.PutJob(job)
		for range 3 {
			_, err2 := tx.AppendEvent(jobspec.Event{Job: job.ID, Type: jobspec.EventState})
			err = errors.Join(err, err2)
		}
		return err
	})
}

// hasAll fails unless the jobs are there, and every job whole.
func hasAll(t *testing.T, st *store.Store, acked []jobspec.JobID) {
	t.Helper()
	view(t, st, func(tx *store.Tx) error {
		for _, id := range acked {
			if _, err := tx.Job(id); err != nil {
				return fmt.Errorf("acknowledged: %w", err)
			}
		}
		all, err := tx.Jobs(store.Filter{})
		for _, j := range all {
			events, err2 := tx.Events(j.ID, 0, 0)
			if err = errors.Join(err, err2); len(events) != 3 {
				err = errors.Join(err, fmt.Errorf("job %s has %d of 3 events", j.ID, len(events)))
			}
		}
		return err
	})
}

// refuses checks that the disk takes nothing, that this is said as it should
// be, and that reading goes on.
func refuses(t *testing.T, st *store.Store, err error, acked []jobspec.JobID) {
	t.Helper()
	wantKind(t, err, jobspec.KindQuota)
	if f := jobspec.AsFailure(err); !errors.Is(err, store.ErrDisk) || f.Hint == "" {
		t.Errorf("Update = %v, hint %q, want an ErrDisk that says what to do", err, f.Hint)
	}
	if err := st.Check(t.Context()); !errors.Is(err, store.ErrDisk) {
		t.Errorf("Check = %v, want an ErrDisk", err)
	}
	hasAll(t, st, acked)
}

// takesAgain checks that the store goes on without being opened again.
func takesAgain(t *testing.T, st *store.Store, path string, acked []jobspec.JobID) {
	t.Helper()
	if err := st.Check(t.Context()); err != nil {
		t.Errorf("Check of a mended disk = %v", err)
	}
	id, err := put(t, st, "after")
	if err != nil {
		t.Fatalf("Update of a mended disk: %v", err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	hasAll(t, openAt(t, path), append(acked, id))
}

// A full disk refuses before anything is acknowledged, and is forgiven when
// there is space again, without a restart.
func TestF16FullDisk(t *testing.T) {
	dir := tmpfs(t, "size=4m")
	path, filler := filepath.Join(dir, "state.db"), filepath.Join(dir, "filler")
	st := openAt(t, path)
	var acked []jobspec.JobID
	var err error
	for err == nil {
		var id jobspec.JobID
		if id, err = put(t, st, strings.Repeat("x", 2000)); err == nil {
			acked = append(acked, id)
		}
		if len(acked) == 20 {
			_ = os.WriteFile(filler, make([]byte, 4<<20), 0o600) // takes what is left
		}
	}
	refuses(t, st, err, acked)
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	takesAgain(t, st, path, acked)
}

// Without inodes an open database goes on, as it makes no files; one that is to
// be opened is refused, and not called damaged.
func TestF20NoInodes(t *testing.T) {
	dir := tmpfs(t, "nr_inodes=32")
	path := filepath.Join(dir, "state.db")
	st := openAt(t, path)
	var files []string
	fill := func() {
		for {
			name := filepath.Join(dir, fmt.Sprint("f", len(files)))
			if err := os.WriteFile(name, nil, 0o600); err != nil {
				return
			}
			files = append(files, name)
		}
	}
	fill()
	id, err := put(t, st, "one")
	if err != nil {
		t.Errorf("Update of an open database: %v", err)
	}
	if err := st.Close(); err != nil {
		t.Error(err)
	}
	fill()
	if st, err := store.Open(t.Context(), path, nil); err == nil {
		st.Close()
		t.Error("a database opens without an inode for its log")
	} else if strings.Contains(err.Error(), "damaged") || jobspec.AsFailure(err).Hint == "" {
		t.Errorf("Open = %v, want what is missing, with a hint", err)
	}
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	hasAll(t, openAt(t, path), []jobspec.JobID{id})
}

// ext4 that has met an error turns read-only. Nothing is acknowledged then,
// all is read, and what was acknowledged is there after the next mount.
func TestF21Ext4TurnsReadOnly(t *testing.T) {
	testenv.Root(t)
	image, dir := filepath.Join(t.TempDir(), "disk"), t.TempDir()
	try := func(name string, args ...string) (string, error) {
		out, err := exec.Command(name, args...).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%s %q: %w: %s", name, args, err, out)
		}
		return strings.TrimSpace(string(out)), err
	}
	sh := func(name string, args ...string) string {
		t.Helper()
		out, err := try(name, args...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	sh("truncate", "-s", "16M", image)
	_, err := try("mkfs.ext4", "-q", "-F", image)
	testenv.Need(t, "root", err) // and what it mounts with: mkfs, loop devices
	_, err = try("mount", "-o", "loop,errors=remount-ro", image, dir)
	testenv.Need(t, "root", err)
	t.Cleanup(func() {
		if _, err := try("umount", "-l", dir); err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(dir, "state.db")
	st, err := store.Open(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	id, err := put(t, st, "before")
	if err != nil {
		t.Fatal(err)
	}
	trigger := filepath.Join("/sys/fs/ext4", filepath.Base(sh("findmnt", "-no", "SOURCE", dir)), "trigger_fs_error")
	if err := os.WriteFile(trigger, []byte("a test of ipdc"), 0); err != nil {
		testenv.Need(t, "root", err)
	}
	_, err = put(t, st, "refused")
	refuses(t, st, err, []jobspec.JobID{id})
	if err := st.Close(); !errors.Is(err, store.ErrDisk) {
		t.Errorf("Close = %v, want an ErrDisk", err)
	}
	again := image + ".again"
	sh("cp", image, again)
	sh("umount", "-l", dir) // the log is still open, so that it stays
	sh("mount", "-o", "loop", again, dir)
	hasAll(t, openAt(t, path), []jobspec.JobID{id})
}
