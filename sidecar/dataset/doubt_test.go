package dataset_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/ipdc/ipdc/internal/faultfs"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

func TestMain(m *testing.M) {
	faultfs.Serve()
	os.Exit(m.Run())
}

// Of an append whose fsync failed nobody knows whether it was made. Its pins
// stay, also when the keeper looks for leftovers, until a later process sees
// what the disk holds: where the version is there, its content is, and the next
// append builds on it.
func TestAppendInDoubt(t *testing.T) {
	disk, dir := faultfs.New(t), t.TempDir()
	b := newBenchOn(t, dir, disk.Dir)
	b.create(t, wire.DatasetWish{Name: "logs"})
	one, two := b.file(t, "one"), b.file(t, "two")
	disk.Fail(faultfs.Fault{Op: faultfs.Sync, Name: "state.db-wal", Errno: syscall.EIO})
	if _, err := b.Append(t.Context(), tenant, "logs", add("day1", one)); !errors.Is(err, store.ErrInDoubt) {
		t.Fatalf("Append with a failed fsync = %v, want an error in doubt", err)
	}
	_ = b.Sweep(t.Context())
	disk.Mend()
	if err := b.node.Unpin(t.Context(), "user/one"); err != nil {
		t.Fatal(err)
	}
	after := t.TempDir() // what another process reads: this one goes on with SQLite's memory of the log
	for _, name := range []string{"state.db", "state.db-wal"} {
		text, err := os.ReadFile(filepath.Join(disk.Dir, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(after, name), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := b.node.Close(); err != nil {
		t.Fatal(err)
	}
	b = newBenchOn(t, dir, after)
	if err := b.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := b.node.GC(t.Context()); err != nil {
		t.Fatal(err)
	}
	v, err := b.Resolve(t.Context(), tenant, jobspec.DatasetRef{Name: "logs"})
	if err != nil || v.Version != 2 {
		t.Fatalf("Resolve = version %d, %v, want 2, as the log of the database holds it", v.Version, err)
	}
	if _, err := b.node.Verify(t.Context(), v.Root); err != nil {
		t.Errorf("the newest version: %v", err)
	}
	if d, err := b.Append(t.Context(), tenant, "logs", add("day2", two)); err != nil || d.Version != 3 {
		t.Errorf("the next append = version %d, %v, want 3", d.Version, err)
	}
}

// An append that was refused, or that a full disk did not take, leaves no pin.
func TestAppendNotMade(t *testing.T) {
	disk := faultfs.New(t)
	b := newBenchOn(t, t.TempDir(), disk.Dir)
	b.create(t, wire.DatasetWish{Name: "logs"})
	before := b.pinned(t)
	disk.Fail(faultfs.Fault{Op: faultfs.Change, Errno: syscall.ENOSPC})
	if _, err := b.Append(t.Context(), tenant, "logs", add("day1", b.file(t, "one"))); !errors.Is(err, store.ErrDisk) {
		t.Fatalf("Append on a full disk = %v, want an ErrDisk", err)
	}
	disk.Mend()
	if got := b.pinned(t); !slices.Equal(got, before) {
		t.Errorf("pins are %v, want %v", got, before)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Append(ctx, tenant, "logs", add("day1", b.file(t, "one"))); err == nil {
		t.Error("Append with a context that has ended succeeded")
	}
	if got := b.pinned(t); !slices.Equal(got, before) {
		t.Errorf("pins are %v, want %v", got, before)
	}
}
