package sidecar_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/internal/faultfs"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

// moveTo puts the state of a bench on a disk that fails when it is told to.
func (b *bench) moveTo(d *faultfs.Disk) {
	t := b.t
	t.Helper()
	st, err := store.Open(t.Context(), filepath.Join(d.Dir, "state.db"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	b.stop()
	if err := b.store.Close(); err != nil {
		t.Fatal(err)
	}
	b.store = st
	b.start()
}

// held is an executor whose containers are heard to end when a test says so.
type held struct {
	executor.Executor
	ends <-chan struct{}
}

func (h held) Wait(ctx context.Context, id executor.ID) (executor.Exit, error) {
	select {
	case <-h.ends:
	case <-ctx.Done():
		return executor.Exit{}, ctx.Err()
	}
	return h.Executor.Wait(ctx, id)
}

// While the disk of the state is full or read-only nothing is acknowledged, the
// node says so, and a job that runs comes to its end; its result is recorded
// once the disk takes it, without a restart.
func TestF16F21RunningJobOutlivesAFullDisk(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EROFS} {
		t.Run(errno.Error(), func(t *testing.T) {
			d := faultfs.New(t)
			b := newBench(t)
			ends := make(chan struct{})
			b.wrap = func(ex executor.Executor) executor.Executor { return held{ex, ends} }
			b.moveTo(d)
			ref := b.submit(spec("DUMMY_WRITE=/outputs/a:b"))
			b.until(ref, jobspec.AttemptRunning)
			d.Fail(faultfs.Fault{Op: faultfs.Change, Errno: errno})
			_, _, err := b.Submit(t.Context(), api.Submission{Tenant: "t", Spec: spec()})
			if f := jobspec.AsFailure(err); f.Kind != jobspec.KindQuota || f.Hint == "" {
				t.Errorf("Submit = %v, hint %q, want E_QUOTA and what to do", err, f.Hint)
			}
			n, err := b.Node(t.Context())
			if err != nil || len(n.Problems) != 1 || !strings.Contains(n.Problems[0], "the disk of the state database") {
				t.Errorf("the node says %q, %v, want what is wrong with its disk", n.Problems, err)
			}
			hits := d.Hits()
			close(ends)
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for late := time.After(2 * time.Minute); d.Hits() == hits; { // until the end of the program is to be recorded
				select {
				case <-tick.C:
				case <-late:
					t.Fatal("the end of the program is never recorded")
				}
			}
			d.Mend()
			if j := b.final(ref); j.State != jobspec.JobSucceeded || len(j.Attempts) != 1 {
				t.Errorf("the job %s after %d attempts: %+v, want its first one to succeed", j.State, len(j.Attempts), j.Failure)
			}
			if n, err = b.Node(t.Context()); err != nil || len(n.Problems) > 0 {
				t.Errorf("of a mended disk the node says %q, %v", n.Problems, err)
			}
		})
	}
}

// After a failed fsync the store ends, and says so to whoever runs the node.
func TestF22NodeEndsOnAFailedSync(t *testing.T) {
	d := faultfs.New(t)
	b := newBench(t)
	b.moveTo(d)
	ref := b.submit(spec("DUMMY_WRITE=/outputs/a:b"))
	b.final(ref)
	d.Fail(faultfs.Fault{Op: faultfs.Sync, Name: "state.db", Errno: syscall.EIO})
	_, _, err := b.Submit(t.Context(), api.Submission{Tenant: "t", Spec: spec()})
	if err == nil || errors.Is(err, store.ErrDisk) {
		t.Errorf("Submit = %v, want that nothing more is written", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if err := b.store.Run(ctx); err == nil {
		t.Error("Run of the store = nil, want why the node is to end")
	}
	b.stop()
	_ = b.store.Close() // says that it is broken
	d.Mend()
	if b.store, err = store.Open(t.Context(), filepath.Join(d.Dir, "state.db"), nil); err != nil {
		t.Fatal(err)
	}
	b.start()
	if j := b.final(ref); j.State != jobspec.JobSucceeded {
		t.Errorf("the job is %s after the restart", j.State)
	}
}

// With no file left to open the node still acknowledges jobs, durably, and they
// wait; with files again they run, without a restart.
func TestF64NoFilesLeft(t *testing.T) {
	b := newBench(t)
	in := b.input("a")
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	limit := func(n uint64) {
		t.Helper()
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: was.Max}); err != nil {
			t.Fatal(err)
		}
	}
	s := spec("DUMMY_COPY=/inputs:/outputs/in")
	s.Inputs = []jobspec.Input{{CID: in}}
	limit(3) // all that is open stays open
	defer limit(was.Cur)
	if _, err := os.Open(os.Args[0]); !errors.Is(err, syscall.EMFILE) {
		t.Errorf("control: Open = %v, want EMFILE", err)
	}
	ref := b.submit(s)
	j := b.untilJob(ref, "waits", func(j wire.Job) bool { return j.Waiting != "" || j.State.Final() })
	limit(was.Cur)
	if j = b.final(ref); j.State != jobspec.JobSucceeded {
		t.Errorf("job = %s, %+v", j.State, j.Failure)
	}
}
