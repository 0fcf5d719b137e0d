// Package executortest is the conformance suite of executors. Each sentence of
// the contract in package executor is a subtest here.
//
//	func TestExecutor(t *testing.T) {
//		executortest.Test(t, executortest.Harness{
//			Open: open, Image: id, Missing: otherID, Command: []string{"/probe", "script"},
//		})
//	}
//
// Invariant: programs are given by environment alone, in the words of
// [dummy.Script], so that an executor in memory and one of real containers
// pass the same suite.
package executortest

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/internal/refusal"
	"github.com/ipdc/ipdc/jobspec"
)

// Limits of the suite. Patience bounds what should be immediate on a loaded
// machine; it is never waited out by a test that passes.
const (
	patience = 60 * time.Second
	uid      = 70123
)

// Harness says how to reach an executor and what to run on it.
type Harness struct {
	// Open connects to the same engine each time, as a node does after its
	// restart. The suite closes what it opens.
	Open func(t *testing.T) executor.Executor
	// Image has the program Command, which obeys the variables of dummy.Script.
	Image   jobspec.ImageID
	Command []string
	// Mounts are what Command needs to see besides the image; default none.
	Mounts []executor.Mount
	// NoSignals says that programs of this executor know no signals: they can
	// neither die by one of their own nor ignore one. What asks that of a
	// program is left out.
	NoSignals bool
	// Missing is the id of no image that the engine has.
	Missing jobspec.ImageID
}

// Test runs the suite.
func Test(t *testing.T, h Harness) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, *bench)
	}{
		{"info", testInfo},
		{"create", testCreate},
		{"F10 adopt after a crash", testAdopt},
		{"replace on another task", testReplace},
		{"refuse an invalid task", testInvalid},
		{"missing image", testMissingImage},
		{"M15 program that cannot be started", testCannotStart},
		{"idempotent start", testStartTwice},
		{"idempotent remove", testRemoveTwice},
		{"missing container", testMissingContainer},
		{"wait", testWait},
		{"wait honours its context", testWaitContext},
		{"R29 exit codes", testExitCodes},
		{"R29 signals", testSignals},
		{"out of memory", testOOM},
		{"times", testTimes},
		{"logs", testLogs},
		{"logs of a running program", testLogsFollow},
		{"logs give up with their sink", testLogsSink},
		{"stop", testStop},
		{"R10 stop a program that ignores SIGTERM", testStopIgnored},
		{"mounts", testMounts},
		{"list", testList},
		{"containers outlive a connection", testOutlive},
		{"eight at once", testEight},
	} {
		if h.NoSignals && (c.name == "R29 signals" || c.name == "R10 stop a program that ignores SIGTERM") {
			continue
		}
		t.Run(c.name, func(t *testing.T) { c.run(t, newBench(t, h)) })
	}
}

// bench is one subtest's own corner of the engine.
type bench struct {
	h      Harness
	ex     executor.Executor
	prefix string
}

func newBench(t *testing.T, h Harness) *bench {
	b := &bench{h: h, prefix: "ipdctest." + strings.ToLower(rand.Text()[:10]) + "-"}
	b.ex = b.open(t)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		ex := h.Open(t)
		defer ex.Close()
		left, err := ex.List(ctx, b.prefix)
		if err != nil {
			t.Errorf("List(%q): %v", b.prefix, err)
		}
		for _, c := range left {
			if err := ex.Remove(ctx, c.ID); err != nil {
				t.Errorf("Remove(%s): %v", c.Name, err)
			}
		}
	})
	return b
}

func (b *bench) open(t *testing.T) executor.Executor {
	t.Helper()
	ex := b.h.Open(t)
	t.Cleanup(func() {
		if err := ex.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return ex
}

// task returns a small task whose program does what env says.
func (b *bench) task(name string, env ...string) executor.Task {
	return executor.Task{
		Name: b.prefix + name, Image: b.h.Image, Command: b.h.Command,
		Env:     append([]string{"HOME=/tmp", "PATH=/bin", "GOMAXPROCS=1"}, env...),
		WorkDir: "/", UID: uid, GID: uid, Mounts: slices.Clone(b.h.Mounts),
		CPU: 1000, Memory: 64 * jobspec.MiB, Pids: 64, NoFile: 128,
		Tmp: 4 * jobspec.MiB, Shm: 4 * jobspec.MiB, LogSize: 4 * jobspec.MiB,
	}
}

func (b *bench) create(t *testing.T, task executor.Task) executor.ID {
	t.Helper()
	id, err := b.ex.Create(bounded(t), task)
	if err != nil {
		t.Fatalf("Create(%s): %v", task.Name, err)
	}
	return id
}

func (b *bench) start(t *testing.T, task executor.Task) executor.ID {
	t.Helper()
	id := b.create(t, task)
	if err := b.ex.Start(bounded(t), id); err != nil {
		t.Fatalf("Start(%s): %v", task.Name, err)
	}
	return id
}

func (b *bench) wait(t *testing.T, id executor.ID) executor.Exit {
	t.Helper()
	exit, err := b.ex.Wait(bounded(t), id)
	if err != nil {
		t.Fatalf("Wait: %v", err)
	}
	return exit
}

func (b *bench) logs(t *testing.T, id executor.ID) *Sink {
	t.Helper()
	var sink Sink
	if err := b.ex.Logs(bounded(t), id, &sink); err != nil {
		t.Fatalf("Logs: %v", err)
	}
	return &sink
}

func (b *bench) list(t *testing.T, prefix string) map[string]executor.Container {
	t.Helper()
	list, err := b.ex.List(bounded(t), prefix)
	if err != nil {
		t.Fatalf("List(%q): %v", prefix, err)
	}
	out := map[string]executor.Container{}
	for _, c := range list {
		out[strings.TrimPrefix(c.Name, b.prefix)] = c
	}
	return out
}

// hostDir returns a directory that the program's user may write to.
func hostDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "mount")
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

func wantKind(t *testing.T, call string, err error, kinds ...jobspec.Kind) {
	t.Helper()
	for _, k := range kinds {
		if refusal.Is(t, err, k) {
			return
		}
	}
	t.Errorf("%s = %v, want an error of kind %v", call, err, kinds)
}

// Sink is a LogSink that keeps everything.
type Sink struct{ Out, Err bytes.Buffer }

// Stdout returns the buffer Out.
func (s *Sink) Stdout() io.Writer { return &s.Out }

// Stderr returns the buffer Err.
func (s *Sink) Stderr() io.Writer { return &s.Err }

// bounded returns the test's context with the suite's patience.
func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}
