package executortest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ipdc/ipdc/executor"
)

func testWait(t *testing.T, b *bench) {
	id := b.start(t, b.task("a", "DUMMY_SLEEP=300ms", "DUMMY_EXIT=7"))
	var g errgroup.Group
	for range 4 {
		g.Go(func() error {
			exit, err := b.ex.Wait(bounded(t), id)
			if err != nil || exit.Code != 7 {
				return fmt.Errorf("wait before the end = %+v, %v, want code 7", exit, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	if exit := b.wait(t, id); exit.Code != 7 {
		t.Errorf("Wait after the end = %+v, want code 7", exit)
	}
}

func testWaitContext(t *testing.T, b *bench) {
	id := b.start(t, b.task("a", "DUMMY_SLEEP=1h"))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := b.ex.Wait(ctx, id); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Wait = %v, want the context's end", err)
	}
	if err := b.ex.Logs(ctx, id, &Sink{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Logs = %v, want the context's end", err)
	}
	if !b.list(t, b.prefix)["a"].Running {
		t.Error("the end of a Wait ended the program")
	}
}

func testExitCodes(t *testing.T, b *bench) {
	for _, code := range []int{0, 1, 19, 125, 126, 127, 137, 255} {
		id := b.start(t, b.task(fmt.Sprint(code), fmt.Sprintf("DUMMY_EXIT=%d", code)))
		if exit := b.wait(t, id); exit.Code != code || exit.OOM {
			t.Errorf("Wait for a program that exits %d = %+v", code, exit)
		}
	}
}

func testSignals(t *testing.T, b *bench) {
	for _, signal := range []int{9, 11, 15} {
		id := b.start(t, b.task(fmt.Sprint(signal), fmt.Sprintf("DUMMY_SIGNAL=%d", signal)))
		if exit := b.wait(t, id); exit.Code != 128+signal || exit.OOM {
			t.Errorf("Wait for a program that dies of signal %d = %+v, want code %d", signal, exit, 128+signal)
		}
	}
}

// testOOM gives the engine the time that it needs to begin watching a program.
func testOOM(t *testing.T, b *bench) {
	id := b.start(t, b.task("a", "DUMMY_SLEEP=500ms", "DUMMY_OOM=1"))
	if exit := b.wait(t, id); !exit.OOM || exit.Code != 137 {
		t.Errorf("Wait for a program that was killed for memory = %+v, want OOM and code 137", exit)
	}
}

// testTimes allows for an engine that notes the start a little late.
func testTimes(t *testing.T, b *bench) {
	const sleep = time.Second
	before := time.Now().Add(-time.Second)
	id := b.start(t, b.task("a", "DUMMY_SLEEP="+sleep.String()))
	exit := b.wait(t, id)
	if exit.Started.Before(before) || exit.Finished.Sub(exit.Started) < sleep/2 || exit.Finished.After(time.Now().Add(time.Second)) {
		t.Errorf("times of a program of %v = %v to %v", sleep, exit.Started, exit.Finished)
	}
	if again := b.wait(t, id); again != exit {
		t.Errorf("second Wait = %+v, want %+v", again, exit)
	}
}

func testStop(t *testing.T, b *bench) {
	id := b.start(t, b.task("a", "DUMMY_SLEEP=1h"))
	for range 2 {
		if err := b.ex.Stop(bounded(t), id, patience/2); err != nil {
			t.Fatalf("Stop: %v", err)
		}
	}
	if exit := b.wait(t, id); exit.Code != 128+15 {
		t.Errorf("Wait after Stop = %+v, want code %d: SIGTERM, and long before the grace is over", exit, 128+15)
	}
}

func testStopIgnored(t *testing.T, b *bench) {
	const grace = time.Second
	id := b.start(t, b.task("a", "DUMMY_SLEEP=1h", "DUMMY_IGNORE_TERM=1", "DUMMY_STDOUT=ready\n"))
	awaitOutput(t, b, id, "ready")
	begin := time.Now()
	if err := b.ex.Stop(bounded(t), id, grace); err != nil {
		t.Fatalf("Stop: %v", err)
	}
	if exit := b.wait(t, id); exit.Code != 137 || exit.OOM {
		t.Errorf("Wait = %+v, want code 137", exit)
	}
	if took := time.Since(begin); took < grace {
		t.Errorf("killed after %v, want a grace of %v", took, grace)
	}
}

func testMounts(t *testing.T, b *bench) {
	in, out := hostDir(t), hostDir(t)
	if err := os.WriteFile(filepath.Join(in, "a"), []byte("from the host"), 0o644); err != nil {
		t.Fatal(err)
	}
	task := b.task("a", "DUMMY_COPY=/inputs:/outputs", "DUMMY_WRITE=/outputs/dir/b:from the job")
	task.Mounts = append(task.Mounts, executor.Mount{Source: in, Target: "/inputs", ReadOnly: true}, executor.Mount{Source: out, Target: "/outputs"})
	id := b.start(t, task)
	if exit := b.wait(t, id); exit.Code != 0 {
		t.Fatalf("Wait = %+v: %s", exit, b.logs(t, id).Err.String())
	}
	for name, want := range map[string]string{"a": "from the host", "dir/b": "from the job"} {
		if got, err := os.ReadFile(filepath.Join(out, name)); err != nil || string(got) != want {
			t.Errorf("/outputs/%s = %q, %v, want %q", name, got, err, want)
		}
	}
	task = b.task("b", "DUMMY_WRITE=/inputs/b:x")
	task.Mounts = append(task.Mounts, executor.Mount{Source: in, Target: "/inputs", ReadOnly: true})
	if exit := b.wait(t, b.start(t, task)); exit.Code == 0 {
		t.Error("a program wrote to a read-only mount")
	}
	if _, err := os.Stat(filepath.Join(in, "b")); err == nil {
		t.Error("a file appeared below a read-only mount")
	}
}

func testList(t *testing.T, b *bench) {
	b.create(t, b.task("a"))
	b.start(t, b.task("b", "DUMMY_SLEEP=1h"))
	ended := b.start(t, b.task("c"))
	b.wait(t, ended)
	list := b.list(t, b.prefix)
	if len(list) != 3 || list["a"].Running || !list["b"].Running || list["c"].Running {
		t.Errorf("List = %+v, want a created, b running, c ended", list)
	}
	if list := b.list(t, b.prefix+"b"); len(list) != 1 {
		t.Errorf("List by a longer prefix = %+v, want one", list)
	}
	// The dot of the prefix is a dot, and a prefix begins at the beginning.
	for _, prefix := range []string{strings.Replace(b.prefix, ".", "x", 1), b.prefix[1:]} {
		if list := b.list(t, prefix); len(list) != 0 {
			t.Errorf("List(%q) = %+v, want none", prefix, list)
		}
	}
}

func testOutlive(t *testing.T, b *bench) {
	first := b.h.Open(t)
	task := b.task("a", "DUMMY_SLEEP=500ms", "DUMMY_EXIT=5", "DUMMY_STDOUT=kept")
	id, err := first.Create(bounded(t), task)
	if err != nil {
		t.Fatalf("Create: %v", err)
	}
	if err := first.Start(bounded(t), id); err != nil {
		t.Fatalf("Start: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	if exit := b.wait(t, id); exit.Code != 5 {
		t.Errorf("Wait by another connection = %+v, want code 5", exit)
	}
	if got := b.logs(t, id).Out.String(); got != "kept" {
		t.Errorf("output = %q, want %q", got, "kept")
	}
}

func testEight(t *testing.T, b *bench) {
	g, ctx := errgroup.WithContext(bounded(t))
	for i := range 8 {
		g.Go(func() error {
			task := b.task(fmt.Sprint(i), fmt.Sprintf("DUMMY_EXIT=%d", i), fmt.Sprintf("DUMMY_STDOUT=%d", i))
			return b.cycle(ctx, task, i)
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	if list := b.list(t, b.prefix); len(list) != 0 {
		t.Errorf("List = %+v, want none", list)
	}
}

// cycle takes one container through its whole life.
func (b *bench) cycle(ctx context.Context, task executor.Task, i int) error {
	id, err := b.ex.Create(ctx, task)
	if err != nil {
		return err
	}
	if err := b.ex.Start(ctx, id); err != nil {
		return err
	}
	var sink Sink
	if err := b.ex.Logs(ctx, id, &sink); err != nil {
		return err
	}
	exit, err := b.ex.Wait(ctx, id)
	if err != nil {
		return err
	}
	if exit.Code != i || sink.Out.String() != fmt.Sprint(i) {
		return fmt.Errorf("container %d ended with code %d and output %q", i, exit.Code, sink.Out.String())
	}
	return b.ex.Remove(ctx, id)
}
