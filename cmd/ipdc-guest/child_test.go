package main

import (
	"errors"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// At the end of a command nothing of its group is left, nor counts against the
// next one, where the guest takes in what has no parent. The control does not
// look for it.
func TestR13GroupIsBuried(t *testing.T) {
	reaper(t)
	for _, first := range []bool{true, false} {
		streams(t)
		c := watchSignals()
		c.first = first
		if end := c.sh(t, `for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done`); end.Code != 0 {
			t.Errorf("the command ends with %+v", end)
		}
		c.close()
		left := 0
		for ; wait() == nil; left++ {
		}
		if first && left != 0 || !first && left != 8 {
			t.Errorf("first %t: %d processes are left", first, left)
		}
	}
}

// What cannot be killed holds up nothing.
func TestBuryTheLiving(t *testing.T) {
	reaper(t)
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	bury(cmd.Process.Pid)
	if err := cmd.Process.Kill(); err != nil {
		t.Errorf("after bury: %v", err)
	}
	_ = cmd.Wait()
}

// reaper lets the test's process take in what has no parent, as process 1 does.
func reaper(t *testing.T) {
	t.Helper()
	set := func(on uintptr) {
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, on, 0, 0, 0); err != nil {
			t.Fatal(err)
		}
	}
	set(1)
	t.Cleanup(func() { set(0) })
}

// wait waits for any child.
func wait() error {
	for {
		if _, err := syscall.Wait4(-1, nil, 0, nil); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
