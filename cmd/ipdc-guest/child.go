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

	"github.com/ipdc/ipdc/wire/guest"
)

// children runs one command at a time, each in a process group of its own, and
// passes SIGTERM and SIGINT on to it.
type children struct {
	signals chan os.Signal // closed by close
	watcher sync.WaitGroup

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

// stopped reports whether a signal asked the guest to end, and how it then ends.
func (c *children) stopped() (exit, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return exit{code: guest.ExitSignal + int(c.asked), signal: int(c.asked)}, c.asked != 0
}

// run starts cmd, waits for it and kills what it left behind in its group:
// later items must not run beside it. After a signal to the guest the end is
// that signal's, whatever the command made of it. The error says that cmd
// could not be started.
func (c *children) run(cmd *exec.Cmd) (exit, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.begin(cmd); err != nil {
		return exit{}, err
	}
	if cmd.Process != nil {
		_ = cmd.Wait() // the state tells it all
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	c.mu.Lock()
	c.group = 0
	c.mu.Unlock()
	if end, stopped := c.stopped(); stopped {
		return end, nil
	}
	return endOf(cmd.ProcessState), nil
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

func endOf(ps *os.ProcessState) exit {
	ws := ps.Sys().(syscall.WaitStatus)
	if ws.Signaled() {
		return exit{code: guest.ExitSignal + int(ws.Signal()), signal: int(ws.Signal())}
	}
	return exit{code: ws.ExitStatus()}
}

// startFailure says with which exit code and words a command that could not be
// started ends.
func startFailure(name string, err error) (code int, detail string) {
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
