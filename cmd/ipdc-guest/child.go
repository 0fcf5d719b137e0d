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
	"time"

	"github.com/ipdc/ipdc/internal/pace"
	"github.com/ipdc/ipdc/internal/taskrun"
	"github.com/ipdc/ipdc/wire/guest"
)

// children runs one command at a time, each in a process group of its own, and
// passes SIGTERM and SIGINT on to it. It is the taskrun.Program of containers.
type children struct {
	signals chan os.Signal // closed by close
	watcher sync.WaitGroup
	unable  error         // why no command can be started; nil = none
	first   bool          // the guest is process 1, which all processes without a parent come to
	pace    *pace.Pace    // of what commands write to the guest's own streams; nil = they have these themselves
	stop    chan struct{} // closed by forward when the guest is asked to end

	mu    sync.Mutex
	group int            // of the running command, 0 = none
	asked syscall.Signal // the signal that asked the guest to end, 0 = none
}

func watchSignals() *children {
	c := &children{signals: make(chan os.Signal, 4), stop: make(chan struct{})}
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
	if c.asked == 0 {
		close(c.stop)
	}
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
// ones, or pipes that are not waited for, so that neither a command that stops
// reading nor a process that it leaves behind can hold us. It begins when what
// the one before said is paid for.
func (c *children) Run(call taskrun.Call) (taskrun.Exit, error) {
	if c.unable != nil {
		return taskrun.Exit{}, c.unable
	}
	if c.pace != nil {
		c.pace.Share(call.CPU)
		c.pace.Spend(0, 0, c.stop)
	}
	stdout, stderr, carried, err := c.carry(call)
	if err != nil {
		return taskrun.Exit{}, startFailure(call.Command[0], err)
	}
	defer carried.finish()
	cmd := exec.Command(call.Command[0], call.Command[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = call.Env, stdout, stderr
	if call.Stdin != nil {
		// A typed nil in the interface would not read as /dev/null.
		cmd.Stdin = call.Stdin
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.begin(cmd); err != nil {
		return taskrun.Exit{}, startFailure(call.Command[0], err)
	}
	var ended syscall.WaitStatus
	if cmd.Process != nil {
		carried.start()
		ended = c.await(cmd.Process.Pid)
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		if c.first {
			bury(cmd.Process.Pid)
		}
		_ = cmd.Process.Release()
	}
	c.mu.Lock()
	c.group = 0
	c.mu.Unlock()
	if end, stopped := c.Stopped(); stopped {
		return end, nil
	}
	return endOf(ended), nil
}

// await waits for the command. As process 1 it takes in whatever else ends
// meanwhile, so that nothing stays a zombie for longer than to the next command.
func (c *children) await(command int) (ws syscall.WaitStatus) {
	who := command
	if c.first {
		who = -1
	}
	for {
		pid, err := syscall.Wait4(who, &ws, 0, nil)
		switch {
		case pid == command:
			return ws
		case err != nil && !errors.Is(err, syscall.EINTR):
			return guest.ExitGuest << 8 // somebody else has waited for it
		}
	}
}

// bury waits for what is left of a group that was killed, as zombies count
// against the bounds of the next command, too. What does not die within moments
// is left to the next await.
func bury(group int) {
	for until := time.Now().Add(100 * time.Millisecond); time.Now().Before(until); {
		pid, err := syscall.Wait4(-group, nil, syscall.WNOHANG, nil)
		switch {
		case err != nil && !errors.Is(err, syscall.EINTR):
			return // there is nothing left
		case pid == 0:
			time.Sleep(time.Millisecond)
		}
	}
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

func endOf(ws syscall.WaitStatus) taskrun.Exit {
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
