package wasm_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/executor/executortest"
	"github.com/ipdc/ipdc/executor/wasm"
	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/internal/wasi"
)

// part is the argument by which this program is a container's process.
const part = "__wasm"

// code is the directory with the probe module, seen at /code.
var code string

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == part {
		os.Exit(wasm.Main(os.Args[2:]))
	}
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "wasmtest")
	if err == nil {
		defer os.RemoveAll(dir)
		code = filepath.Join(dir, "code")
		err = build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	res := m.Run()
	if err := goleak.Find(); res == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return res
}

func build(dir string) error {
	if err := os.MkdirAll(code, 0o755); err != nil {
		return err
	}
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(code, "probe.wasm"), "./testdata/probe")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build probe: %w\n%s", err, out)
	}
	return os.Chmod(dir, 0o755)
}

func codeMount() executor.Mount { return executor.Mount{Source: code, Target: "/code", ReadOnly: true} }

func open(t *testing.T, dir string) *wasm.Executor {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ex, err := wasm.Open(t.Context(), wasm.Config{Dir: dir, Program: []string{self, part}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = ex.Info(t.Context())
	testenv.Need(t, "wasm", err)
	return ex
}

func TestExecutor(t *testing.T) {
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
