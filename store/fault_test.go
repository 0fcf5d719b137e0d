package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ipdc/ipdc/internal/faultfs"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
)

// A read-only disk takes nothing, and is forgiven once it is writable again.
func TestF21ReadOnly(t *testing.T) {
	d := faultfs.New(t)
	path := filepath.Join(d.Dir, "state.db")
	st := openAt(t, path)
	id, err := put(t, st, "before")
	if err != nil {
		t.Fatal(err)
	}
	d.Fail(faultfs.Fault{Op: faultfs.Change, Errno: syscall.EROFS})
	_, err = put(t, st, "refused")
	refuses(t, st, err, []jobspec.JobID{id})
	d.Mend()
	takesAgain(t, st, path, []jobspec.JobID{id})
}

// After a failed write or fsync nothing more is written, also once the disk is
// well again: what it holds is known only after opening it again.
func TestF22BrokenDisk(t *testing.T) {
	d := faultfs.New(t)
	for _, op := range []faultfs.Op{faultfs.Write, faultfs.Sync} {
		t.Run(string(op), func(t *testing.T) {
			d.Mend()
			path := filepath.Join(d.Dir, string(op), "state.db")
			if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			st, err := store.Open(t.Context(), path, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer st.Close()
			id, err := put(t, st, "before")
			if err != nil {
				t.Fatal(err)
			}
			d.Fail(faultfs.Fault{Op: op, Name: "state.db-wal", Errno: syscall.EIO})
			if op == faultfs.Write { // of one that failed nothing is in doubt, if it stays the only one
				if _, err := put(t, st, "refused"); !errors.Is(err, store.ErrDisk) {
					t.Errorf("Update with its first failed write = %v, want an ErrDisk", err)
				}
			}
			_, err = put(t, st, "refused")
			wantKind(t, err, jobspec.KindInternal)
			d.Mend()
			if _, err := put(t, st, "refused, too"); err == nil || errors.Is(err, store.ErrDisk) || !strings.Contains(err.Error(), "start the node again") {
				t.Errorf("Update after a failed %s = %v, want that nothing more is written", op, err)
			}
			if err := st.Run(t.Context()); err == nil {
				t.Errorf("Run of a broken store = %v, want why it ends", err)
			}
			hasAll(t, st, []jobspec.JobID{id})
			_ = st.Close()
			again := openAt(t, path)
			hasAll(t, again, []jobspec.JobID{id})
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := again.Run(ctx); err != nil {
				t.Errorf("Run of a sound store = %v, want nil", err)
			}
		})
	}
	t.Run("read", func(t *testing.T) {
		d.Mend()
		path := filepath.Join(d.Dir, "state.db")
		st := openAt(t, path)
		id, err := put(t, st, "before")
		if err := errors.Join(err, st.Close()); err != nil {
			t.Fatal(err)
		}
		d.Fail(faultfs.Fault{Op: faultfs.Read, Name: "state.db", Errno: syscall.EIO})
		if _, err := store.Open(t.Context(), path, nil); err == nil || strings.Contains(err.Error(), "is damaged") {
			t.Errorf("Open = %v, want the error of the disk and no word of damage", err)
		}
		d.Mend()
		hasAll(t, openAt(t, path), []jobspec.JobID{id})
	})
}

// The syncs of a database's life: those of making it, then one for each of some
// large jobs, and those that move the log into the main file.
const (
	syncsToMake = 28
	syncs       = 44
)

// The power goes at each sync of a database's life. What was acknowledged is
// there, and whole, with what was written after the last sync gone (F24), or
// half of its sectors written (F23); a database that was put in place by rename
// and acknowledged something is never gone (F25).
func TestF23F24F25PowerLoss(t *testing.T) {
	d := faultfs.New(t)
	seeds, step := uint64(1), 4
	if os.Getenv("IPDC_PROVE_LONG") != "" {
		seeds, step = 40, 1
	}
	most := 0 // of cuts that are far apart and few, some are after several jobs
	for n := 0; n < syncs; n++ {
		if n%step != syncsToMake%step {
			continue
		}
		path := filepath.Join(d.Dir, fmt.Sprint(n), "state.db")
		if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		syncDir(t, d.Dir)
		d.CutAfter(n)
		acked := untilCut(t, path)
		most = max(most, len(acked))
		for seed := range seeds + 1 {
			dir := t.TempDir()
			d.Lose(dir, seed)
			st, err := store.Open(t.Context(), filepath.Join(dir, fmt.Sprint(n), "state.db"), nil)
			if err != nil {
				t.Fatalf("cut at sync %d, seed %d: after %d acknowledged jobs: %v", n, seed, len(acked), err)
			}
			hasAll(t, st, acked)
			if err := errors.Join(st.Close(), os.RemoveAll(dir)); err != nil || t.Failed() {
				t.Fatalf("cut at sync %d, seed %d: %v", n, seed, err)
			}
		}
		d.Mend()
		if err := os.RemoveAll(filepath.Dir(path)); err != nil {
			t.Fatal(err)
		}
	}
	if most < 4 {
		t.Errorf("%d jobs were acknowledged at most: the cuts are not where they should be", most)
	}
}

// untilCut returns the jobs that were acknowledged before the power went.
func untilCut(t *testing.T, path string) (acked []jobspec.JobID) {
	t.Helper()
	st, err := store.Open(t.Context(), path, nil)
	if err != nil {
		return nil
	}
	defer st.Close()
	for range 40 {
		id, err := put(t, st, strings.Repeat("large ", 100_000))
		if err != nil {
			return acked
		}
		acked = append(acked, id)
	}
	return acked
}

func syncDir(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err == nil {
		err = errors.Join(f.Sync(), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// While a commit waits for a slow disk, reading goes on, and the commit is
// acknowledged after the disk has it, not before.
func TestF73SlowSync(t *testing.T) {
	d := faultfs.New(t)
	path := filepath.Join(d.Dir, "state.db")
	st := openAt(t, path)
	first, err := put(t, st, "first")
	if err != nil {
		t.Fatal(err)
	}
	hasAll(t, st, []jobspec.JobID{first})
	t.Cleanup(d.Release) // so that the store can end
	d.Fail(faultfs.Fault{Op: faultfs.Sync, Name: "state.db-wal", Hold: true})
	acked := make(chan jobspec.JobID, 1)
	go func() {
		id, err := put(t, st, "slow")
		if err != nil {
			t.Error(err)
		}
		acked <- id
	}()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for late := time.After(2 * time.Minute); d.Hits() == 0; { // until the commit is in its sync
		select {
		case <-acked:
			t.Fatal("acknowledged without a sync")
		case <-late:
			t.Fatal("the commit does not come to its sync")
		case <-tick.C:
		}
	}
	waits := time.AfterFunc(2*time.Minute, func() {
		t.Error("a read waits for the sync of a commit")
		d.Release()
	})
	hasAll(t, st, []jobspec.JobID{first})
	waits.Stop()
	select {
	case <-acked:
		t.Fatal("acknowledged before its sync")
	default:
	}
	d.Release()
	id := <-acked
	dir := t.TempDir()
	d.Lose(dir, 0)
	hasAll(t, openAt(t, filepath.Join(dir, "state.db")), []jobspec.JobID{first, id})
}
