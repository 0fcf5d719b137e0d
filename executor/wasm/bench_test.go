package wasm_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/executor/executortest"
	"github.com/ipdc/ipdc/executor/wasm"
	"github.com/ipdc/ipdc/internal/wasi"
	"github.com/ipdc/ipdc/jobspec"
)

const uid = 70123

// bench runs single modules.
type bench struct {
	t  *testing.T
	ex *wasm.Executor
}

func newBench(t *testing.T) *bench {
	b := &bench{t, open(t, t.TempDir())}
	t.Cleanup(func() {
		list, err := b.ex.List(context.Background(), "")
		if err != nil {
			t.Error(err)
		}
		for _, c := range list {
			if err := b.ex.Remove(context.Background(), c.ID); err != nil {
				t.Error(err)
			}
		}
	})
	return b
}

func task(command ...string) executor.Task {
	return executor.Task{
		Name: "wasmtest", Image: wasi.ID(), Command: append([]string{"/code/probe.wasm"}, command...),
		Env: []string{"A=b"}, WorkDir: "/", UID: uid, GID: uid, Mounts: []executor.Mount{codeMount()},
		CPU: 2000, Memory: 64 * jobspec.MiB, Pids: 64, NoFile: 64,
		Tmp: 4 * jobspec.MiB, Shm: jobspec.MiB, LogSize: jobspec.MiB,
	}
}

func (b *bench) start(t executor.Task) executor.ID {
	b.t.Helper()
	id, err := b.ex.Create(b.t.Context(), t)
	if err == nil {
		err = b.ex.Start(b.t.Context(), id)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	return id
}

// run returns how a task ended and what it wrote.
func (b *bench) run(t executor.Task) (executor.Exit, *executortest.Sink) {
	b.t.Helper()
	id := b.start(t)
	exit, err := b.ex.Wait(b.t.Context(), id)
	if err != nil {
		b.t.Fatal(err)
	}
	return exit, b.logs(id)
}

func (b *bench) logs(id executor.ID) *executortest.Sink {
	b.t.Helper()
	var sink executortest.Sink
	if err := b.ex.Logs(b.t.Context(), id, &sink); err != nil {
		b.t.Fatal(err)
	}
	return &sink
}

// spinning starts a module that never ends, and returns its runner's pid once
// it runs.
func (b *bench) spinning() (executor.ID, int) {
	b.t.Helper()
	id := b.start(task("spin"))
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
	defer cancel()
	sink := &first{found: cancel}
	_ = b.ex.Logs(ctx, id, sink)
	if sink.Out.Len() == 0 {
		b.t.Fatal("the module did not begin")
	}
	pid, err := b.ex.RunnerOf(id)
	if err != nil {
		b.t.Fatal(err)
	}
	return id, pid
}

// dir returns a directory that the module's user owns.
func (b *bench) dir(files map[string]string) string {
	b.t.Helper()
	dir := b.t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			b.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			b.t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		b.t.Fatal(err)
	}
	return dir
}
