package sidecar_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// smallBlocks moves a Kubo's blocks to a disk of their own.
func smallBlocks(t *testing.T, k *testenv.KuboDaemon) (dir string) {
	t.Helper()
	testenv.Root(t)
	k.Stop()
	dir = filepath.Join(k.Repo, "blocks")
	if err := os.Rename(dir, dir+".before"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	testenv.Need(t, "root", unix.Mount("tmpfs", dir, "tmpfs", 0, "size=8m"))
	t.Cleanup(func() {
		k.Stop()
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	if err := os.CopyFS(dir, os.DirFS(dir+".before")); err != nil {
		t.Fatal(err)
	}
	k.Start()
	return dir
}

// F19: the disk of a real Kubo is full when a job's output comes. The output is
// kept, the job says what it waits for, and is done once there is space, without
// a second run. The control: what waits in vain ends at its deadline.
func TestF19OutputWaitsForSpaceInKubo(t *testing.T) {
	t.Parallel()
	k := testenv.Kubo(t)
	blocks := smallBlocks(t, k)
	filler := filepath.Join(blocks, "filler")
	fill := func() {
		f, err := os.Create(filler)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for err == nil {
			_, err = f.Write(make([]byte, 4<<10))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
	w := newWay(t, k)
	b := onKubo(t, w)
	ends := make(chan chan struct{}, 1)
	b.wrap = func(ex executor.Executor) executor.Executor { return heldEach{ex, ends} }
	b.start()
	full := func(name string, total time.Duration) (ref string) {
		s := spec("DUMMY_WRITE=/outputs/" + name + ":" + strings.Repeat(name, 50_000))
		s.Timeouts.Total, s.Timeouts.Run = jobspec.Duration(total), jobspec.Duration(total) // the program ends long before
		end := make(chan struct{})
		ends <- end
		ref = b.submit(s)
		b.until(ref, jobspec.AttemptRunning)
		fill()
		close(end)
		return ref
	}

	waits := func(ref string) wire.Job {
		return b.untilJob(ref, "waits with its output", func(j wire.Job) bool {
			return strings.Contains(j.Waiting, "the disk of Kubo at ") || j.State.Final()
		})
	}

	ref := full("a", time.Hour)
	j := waits(ref)
	if j.State.Final() {
		t.Errorf("while Kubo's disk is full the job is %s: %+v", j.State, j.Failure)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if j = b.final(ref); j.State != jobspec.JobSucceeded || len(j.Attempts) != 1 || b.state.Count("create") != 1 {
		t.Errorf("with space again the job is %s after %d attempts, %+v", j.State, len(j.Attempts), j.Failure)
	}

	ref = full("b", time.Minute)
	if j = waits(ref); j.State.Final() {
		t.Errorf("control: the job is %s before it waits for Kubo's disk: %+v", j.State, j.Failure)
	}
	if j = b.final(ref); j.State != jobspec.JobFailed || j.Failure.Kind != jobspec.KindTimeout || !strings.Contains(j.Failure.Hint, "timeouts.total") {
		t.Errorf("control: without space the job is %s, %+v, want that its deadline ends it", j.State, j.Failure)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
}
