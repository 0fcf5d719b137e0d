package wasm

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/internal/pace"
	"github.com/ipdc/ipdc/jobspec"
)

// SupervisorOf returns the pid of a container's supervisor.
func (e *Executor) SupervisorOf(id executor.ID) (int, error) {
	var p process
	err := read(e.dir(id), processFile, &p)
	return p.PID, err
}

// RunnerOf returns the pid of a container's runner.
func (e *Executor) RunnerOf(id executor.ID) (int, error) {
	pid, err := e.SupervisorOf(id)
	if err != nil {
		return 0, err
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

// SetProcess makes the record say that the supervisor is another process.
func (e *Executor) SetProcess(id executor.ID, pid int, start uint64) error {
	return write(e.dir(id), processFile, process{PID: pid, Start: start, Boot: bootID()})
}

// LimitsOf returns the files of a task's control groups and what they must hold.
func LimitsOf(t executor.Task) map[string]string {
	all := map[string]string{}
	for dir, settings := range groups(t) {
		for _, s := range settings {
			all[filepath.Join(dir, s.file)] = s.value
		}
	}
	return all
}

// CopyLog keeps what comes from r as the log below dir, as a supervisor does;
// over is closed when the module has ended.
func CopyLog(dir string, size jobspec.Bytes, p *pace.Pace, r io.Reader, over <-chan struct{}) error {
	if err := os.Mkdir(filepath.Join(dir, logDir), 0o700); err != nil {
		return err
	}
	l := newLogWriter(dir, size, 0)
	l.pace = p
	l.copy(stdout, r, over)
	return l.close()
}
