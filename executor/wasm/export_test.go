package wasm

import (
	"fmt"
	"os"
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

// GroupsOf returns the directories of a task's control groups.
func GroupsOf(t executor.Task) (dirs []string) {
	for dir := range groups(t) {
		dirs = append(dirs, dir)
	}
	return dirs
}
