package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
)

// A full disk refuses before anything is acknowledged, and is forgiven when
// there is space again, without a restart.
func TestF16FullDisk(t *testing.T) {
	testenv.Root(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("mount tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(dir, "state.db")
	st := openAt(t, path)
	put := func() (jobspec.JobID, error) {
		job := newJob("local", strings.Repeat("x", 2000))
		return job.ID, st.Update(t.Context(), func(tx *store.Tx) error { return tx.PutJob(job) })
	}
	var acked []jobspec.JobID
	var err error
	filler := filepath.Join(dir, "filler")
	for err == nil {
		var id jobspec.JobID
		if id, err = put(); err == nil {
			acked = append(acked, id)
		}
		if len(acked) == 20 {
			_ = os.WriteFile(filler, make([]byte, 4<<20), 0o600) // takes what is left
		}
	}
	wantKind(t, err, jobspec.KindLimit)
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	id, err := put()
	if err != nil {
		t.Fatalf("Update with space again: %v", err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	view(t, openAt(t, path), func(tx *store.Tx) (err error) {
		for _, id := range append(acked, id) {
			_, err2 := tx.Job(id)
			err = errors.Join(err, err2)
		}
		return err
	})
}
