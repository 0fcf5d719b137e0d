package wasm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/internal/durable"
	"github.com/ipdc/ipdc/jobspec"
)

// Names in a container's directory, which is called <name>~<random>.
const (
	taskFile    = "task.json"    // executor.Task, from Create
	processFile = "process.json" // process, from the supervisor before the runner starts
	exitFile    = "exit.json"    // ending, the supervisor's last act
	stopFile    = "stop"         // grace of a Stop
	lockFile    = "lock"         // held while a container is started
	rootDir     = "root"         // mount point of the sandbox, in its own namespace
	logDir      = "log"          // see logWriter
)

// process names a supervisor for good: a pid alone is used again.
type process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks after the boot
	Boot  string `json:"boot"`
}

// ending is how a container ended.
type ending struct {
	Code     int       `json:"code"`
	OOM      bool      `json:"oom,omitempty"`
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
	Start    string    `json:"start_error,omitempty"` // why the command could not be started
	Internal string    `json:"error,omitempty"`       // why the sandbox could not be built
}

// exit returns what Wait returns for e.
func (e ending) exit() (executor.Exit, error) {
	switch {
	case e.Internal != "":
		return executor.Exit{}, errors.New(e.Internal)
	case e.Start != "":
		return executor.Exit{}, jobspec.KindImageRun.Errorf("%s", e.Start)
	}
	return executor.Exit{Code: e.Code, OOM: e.OOM, Started: e.Started, Finished: e.Finished}, nil
}

// self names the calling process.
func self() (process, error) {
	start, err := startTime(os.Getpid())
	return process{PID: os.Getpid(), Start: start, Boot: bootID()}, err
}

// open returns a descriptor that becomes readable when p ends. The error is
// fs.ErrNotExist when p is no more.
func (p process) open() (*os.File, error) {
	if p.Boot != bootID() {
		return nil, fs.ErrNotExist
	}
	fd, err := unix.PidfdOpen(p.PID, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) {
		return nil, fs.ErrNotExist
	}
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", p.PID, err)
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	if start, err := startTime(p.PID); err != nil || start != p.Start {
		f.Close()
		return nil, fs.ErrNotExist
	}
	return f, nil
}

// alive reports whether p runs; a process that waits to be buried does not.
func (p process) alive() bool {
	f, err := p.open()
	if err != nil {
		return false
	}
	defer f.Close()
	return !ended(f.Fd(), 0)
}

// ended reports whether the process behind a pidfd has ended.
func ended(fd uintptr, timeout time.Duration) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(timeout.Milliseconds()))
	return err == nil && n > 0
}

// startTime is field 22 of /proc/<pid>/stat; the second field may hold anything.
func startTime(pid int) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 20 {
		return 0, fmt.Errorf("process %d: malformed stat", pid)
	}
	return strconv.ParseUint(f[19], 10, 64)
}

func bootID() string {
	b, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b))
}

// read decodes a record of a container.
func read(dir, name string, v any) error {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("read %s: %w", filepath.Join(dir, name), err)
	}
	return nil
}

// write makes a record durable: it is there whole or not at all.
func write(dir, name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := durable.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}
