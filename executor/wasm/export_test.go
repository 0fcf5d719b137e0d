package wasm

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/ipdc/ipdc/executor"
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
