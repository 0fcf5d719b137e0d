package wasm

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	wasisys "github.com/tetratelabs/wazero/sys"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/internal/taskrun"
	"github.com/ipdc/ipdc/internal/wasi"
	"github.com/ipdc/ipdc/wire/guest"
)

// maxModule is the size of the largest module in bytes. Compiled it takes
// some ten times as much.
const maxModule = 64 << 20

// exitTrap is how a module ends that broke a rule of WebAssembly, as by
// SIGABRT.
const exitTrap = guest.ExitSignal + int(syscall.SIGABRT)

// module runs a module as the program of a task. It is compiled once and gets
// a memory of its own for each call.
type module struct {
	task executor.Task
	over func() // see allocator

	ctx      context.Context // with the allocator; of the process
	runtime  wazero.Runtime
	compiled wazero.CompiledModule
}

var _ taskrun.Program = (*module)(nil)

// Run instantiates the module and calls its _start.
func (m *module) Run(c taskrun.Call) (taskrun.Exit, error) {
	if m.compiled == nil {
		if err := m.compile(c.Command[0]); err != nil {
			return taskrun.Exit{}, err
		}
	}
	cannot := func(why string) error {
		return &taskrun.StartError{Code: guest.ExitNoExec, Detail: fmt.Sprintf("start %s: %s", c.Command[0], why)}
	}
	mod, err := m.runtime.InstantiateModule(m.ctx, m.compiled, m.config(c))
	if err != nil {
		return taskrun.Exit{}, cannot(firstLine(err))
	}
	defer mod.Close(m.ctx)
	start := mod.ExportedFunction("_start")
	if start == nil {
		return taskrun.Exit{}, cannot("it exports no _start: a command is needed, not a library (wasm32-wasip1; GOOS=wasip1)")
	}
	_, err = start.Call(m.ctx)
	return endOf(err), nil
}

// endOf turns what _start returned into an exit.
func endOf(err error) taskrun.Exit {
	var exit *wasisys.ExitError
	switch {
	case err == nil:
		return taskrun.Exit{}
	case errors.As(err, &exit):
		code := exit.ExitCode()
		if code > 255 {
			code = max(code&0xff, 1) // as a process, but never a success by accident
		}
		return taskrun.Exit{Code: int(code)}
	}
	fmt.Fprintln(os.Stderr, err)
	return taskrun.Exit{Code: exitTrap, Detail: firstLine(err)}
}

// Stopped is never true: a signal ends this process with all that is in it.
func (m *module) Stopped() (taskrun.Exit, bool) { return taskrun.Exit{}, false }

// Usage is that of the whole process, compiling included.
func (m *module) Usage() (cpu, memory int64) {
	var ru syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &ru) != nil {
		return 0, 0
	}
	return ru.Utime.Nano() + ru.Stime.Nano(), ru.Maxrss << 10 // Linux counts in KiB
}

// compile reads the module at name; a name without slash is one in the code.
func (m *module) compile(name string) error {
	file := name
	if !strings.Contains(name, "/") {
		file = path.Join(guest.Code, name)
	}
	b, err := readModule(file)
	if err != nil {
		code := guest.ExitNoExec
		if errors.Is(err, fs.ErrNotExist) {
			code, err = guest.ExitNotFound, errors.New("no such file")
		}
		return &taskrun.StartError{Code: code, Detail: fmt.Sprintf("start %s: %v", name, err)}
	}
	m.ctx = experimental.WithMemoryAllocator(context.Background(), &allocator{limit: uint64(m.task.Memory), over: m.over})
	m.runtime = wazero.NewRuntimeWithConfig(m.ctx, wazero.NewRuntimeConfig())
	if _, err := wasi_snapshot_preview1.Instantiate(m.ctx, m.runtime); err != nil {
		return fmt.Errorf("offer %s: %w", wasi.Interface, err)
	}
	if m.compiled, err = m.runtime.CompileModule(m.ctx, b); err != nil {
		return &taskrun.StartError{Code: guest.ExitNoExec, Detail: fmt.Sprintf("start %s: compile: %s", name, firstLine(err))}
	}
	return nil
}

func readModule(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxModule+1))
	switch {
	case err != nil:
		return nil, err
	case len(b) > maxModule:
		return nil, fmt.Errorf("the module has more than %d MiB", maxModule>>20)
	case wasi.IsComponent(b):
		return nil, errors.New("it is a WebAssembly component; build a module for WASI preview 1 (wasm32-wasip1)")
	case !wasi.IsModule(b):
		return nil, errors.New("it is no WebAssembly module")
	}
	return b, nil
}

// config is the whole world of a call: arguments, environment, three streams,
// the sandbox's files, clocks and randomness.
func (m *module) config(c taskrun.Call) wazero.ModuleConfig {
	files := wazero.NewFSConfig().WithReadOnlyDirMount("/", "/").WithDirMount("/tmp", "/tmp")
	for _, mount := range m.task.Mounts {
		if info, err := os.Stat(mount.Target); err == nil && info.IsDir() && !mount.ReadOnly {
			files = files.WithDirMount(mount.Target, mount.Target)
		}
	}
	cfg := wazero.NewModuleConfig().WithName("").WithStartFunctions().
		WithArgs(c.Command...).WithFSConfig(files).WithStdout(c.Stdout).WithStderr(stderrOf(c)).
		WithSysWalltime().WithSysNanotime().WithSysNanosleep().WithRandSource(rand.Reader)
	if c.Stdin != nil {
		cfg = cfg.WithStdin(c.Stdin)
	}
	here := false
	for _, kv := range c.Env {
		name, value, _ := strings.Cut(kv, "=")
		cfg = cfg.WithEnv(name, value)
		here = here || name == "PWD"
	}
	if !here {
		cfg = cfg.WithEnv("PWD", m.task.WorkDir) // WASI knows no working directory; libraries take this
	}
	return cfg
}

// firstLine drops the stack trace from an error of the runtime.
func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(line), "(recovered by wazero)"))
}

// stderrOf is where a call's stderr goes: to the task's, and to who keeps its
// end.
func stderrOf(c taskrun.Call) io.Writer {
	if c.Stderr == nil {
		return os.Stderr
	}
	return io.MultiWriter(os.Stderr, c.Stderr)
}
