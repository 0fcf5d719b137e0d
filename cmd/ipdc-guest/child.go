package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"

	"github.com/ipdc/ipdc/internal/taskrun"
	"github.com/ipdc/ipdc/wire/guest"
)

// children runs one command at a time, each in a process group of its own, and
// passes SIGTERM and SIGINT on to it. It is the taskrun.Program of containers.
type children struct {
	signals chan os.Signal // closed by close
	watcher sync.WaitGroup
	unable  error // why no command can be started; nil = none

	mu    sync.Mutex
	group int            // of the running command, 0 = none
	asked syscall.Signal // the signal that asked the guest to end, 0 = none
}

func watchSignals() *children {
	c := &children{signals: make(chan os.Signal, 4)}
	signal.Notify(c.signals, syscall.SIGTERM, syscall.SIGINT)
	c.watcher.Go(func() {
		for s := range c.signals {
			c.forward(s.(syscall.Signal))
		}
	})
	return c
}

func (c *children) close() {
	signal.Stop(c.signals)
	close(c.signals)
	c.watcher.Wait()
}

func (c *children) forward(s syscall.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = s
	if c.group != 0 {
		_ = syscall.Kill(-c.group, s)
	}
}

// Stopped reports whether a signal asked the guest to end, and how it then ends.
func (c *children) Stopped() (taskrun.Exit, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return taskrun.Exit{Code: guest.ExitSignal + int(c.asked), Signal: int(c.asked)}, c.asked != 0
}

// Run starts the command, waits for it and kills what it left behind in its
// group: later items must not run beside it. After a signal to the guest the
// end is that signal's, whatever the command made of it. Its files are real
// ones, or a pipe that is not waited for, so that neither a command that stops
// reading nor a process that it leaves behind can hold us.
func (c *children) Run(call taskrun.Call) (taskrun.Exit, error) {
	if c.unable != nil {
		return taskrun.Exit{}, c.unable
	}
	cmd := exec.Command(call.Command[0], call.Command[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = call.Env, call.Stdout, os.Stderr
	if call.Stdin != nil {
		// A typed nil in the interface would not read as /dev/null.
		cmd.Stdin = call.Stdin
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	finish, err := c.beginSeen(cmd, call.Stderr)
	if err != nil {
		return taskrun.Exit{}, startFailure(call.Command[0], err)
	}
	if cmd.Process != nil {
		_ = cmd.Wait() // the state tells it all
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	finish()
	c.mu.Lock()
	c.group = 0
	c.mu.Unlock()
	if end, stopped := c.Stopped(); stopped {
		return end, nil
	}
	return endOf(cmd.ProcessState), nil
}

// kill kills the command that runs.
func (c *children) kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.group != 0 {
		_ = syscall.Kill(-c.group, syscall.SIGKILL)
	}
}

// Usage counts what all processes used that were waited for.
func (c *children) Usage() (cpu, memory int64) {
	var ru syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_CHILDREN, &ru) != nil {
		return 0, 0
	}
	return ru.Utime.Nano() + ru.Stime.Nano(), ru.Maxrss << 10 // Linux counts in KiB
}

// beginSeen begins cmd with tail, if there is one, beside its stderr. finish is
// to be called after its end.
func (c *children) beginSeen(cmd *exec.Cmd, tail *taskrun.Tail) (finish func(), err error) {
	if tail == nil {
		return func() {}, c.begin(cmd)
	}
	t, err := openTee(tail)
	if err != nil {
		return nil, err
	}
	cmd.Stderr = t.write
	if err := c.begin(cmd); err != nil {
		t.finish()
		return nil, err
	}
	t.start()
	return t.finish, nil
}

// begin starts cmd unless the guest was asked to end. Under the lock, so that
// no signal falls between the start and its entry.
func (c *children) begin(cmd *exec.Cmd) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asked != 0 {
		return nil
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	c.group = cmd.Process.Pid
	return nil
}

func endOf(ps *os.ProcessState) taskrun.Exit {
	ws := ps.Sys().(syscall.WaitStatus)
	if ws.Signaled() {
		return taskrun.Exit{Code: guest.ExitSignal + int(ws.Signal()), Signal: int(ws.Signal())}
	}
	return taskrun.Exit{Code: ws.ExitStatus()}
}

// startFailure says with which exit code and words a command that could not be
// started ends.
func startFailure(name string, err error) *taskrun.StartError {
	code, detail := failureWords(name, err)
	return &taskrun.StartError{Code: code, Detail: detail}
}

func failureWords(name string, err error) (code int, detail string) {
	var pe *fs.PathError
	missing := errors.Is(err, fs.ErrNotExist)
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return guest.ExitNotFound, fmt.Sprintf("start %s: no such program in PATH", name)
	case missing && exists(name):
		return guest.ExitNotFound, fmt.Sprintf("start %s: it needs an interpreter or a loader that the image does not have", name)
	case missing:
		return guest.ExitNotFound, fmt.Sprintf("start %s: no such file", name)
	case errors.Is(err, syscall.ENOEXEC):
		return guest.ExitNoExec, fmt.Sprintf("start %s: not a program for this machine, and no script with #! in its first line", name)
	case errors.Is(err, fs.ErrPermission):
		return guest.ExitNoExec, fmt.Sprintf("start %s: not executable", name)
	case errors.As(err, &pe):
		return guest.ExitNoExec, fmt.Sprintf("start %s: %v", name, pe.Err)
	}
	return guest.ExitNoExec, fmt.Sprintf("start %s: %v", name, err)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
