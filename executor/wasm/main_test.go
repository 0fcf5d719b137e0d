package wasm_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/executor/executortest"
	"github.com/ipdc/ipdc/executor/wasm"
	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/internal/wasi"
)

// code is the directory with the probe module, seen at /code; host the program
// whose processes are the containers.
var code, host string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "wasmtest")
	if err == nil {
		defer os.RemoveAll(dir)
		code, host = filepath.Join(dir, "code"), filepath.Join(dir, "host")
		err = errors.Join(os.Mkdir(code, 0o755), os.Chmod(dir, 0o755),
			build(host, "./testdata/host", "CGO_ENABLED=0"),
			build(filepath.Join(code, "probe.wasm"), "./testdata/probe", "GOOS=wasip1", "GOARCH=wasm"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	res := m.Run()
	if left := supervisors(); len(left) > 0 {
		fmt.Fprintln(os.Stderr, "left behind:", left)
		res = 1
	}
	if err := goleak.Find(); res == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return res
}

// supervisors returns the command lines of containers' processes of this run.
func supervisors() (list []string) {
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is well formed
	for _, f := range all {
		if b, err := os.ReadFile(f); err == nil && strings.HasPrefix(string(b), host+"\x00") {
			list = append(list, strings.ReplaceAll(string(b), "\x00", " "))
		}
	}
	return list
}

func build(to, pkg string, env ...string) error {
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", to, pkg)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return nil
}

func codeMount() executor.Mount { return executor.Mount{Source: code, Target: "/code", ReadOnly: true} }

func open(t *testing.T, dir string) *wasm.Executor {
	t.Helper()
	ctx := context.WithoutCancel(t.Context()) // the suite also opens one to clean up
	ex, err := wasm.Open(ctx, wasm.Config{Dir: dir, Program: []string{host, "__wasm"}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = ex.Info(ctx)
	testenv.Need(t, "wasm", err)
	return ex
}

func TestExecutor(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles a module sixty times, which takes a minute or two")
	}
	dir := t.TempDir()
	executortest.Test(t, executortest.Harness{
		Open:      func(t *testing.T) executor.Executor { return open(t, dir) },
		Image:     wasi.ID(),
		Command:   []string{"/code/probe.wasm", "script"},
		Mounts:    []executor.Mount{codeMount()},
		NoSignals: true,
		Missing:   "sha256:" + "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
	})
}
