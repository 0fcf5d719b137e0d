package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// clone makes a process that shares nothing and has one thread. The child
// must do nothing but raw system calls, as the Go runtime is not alive in it.
//
//go:nosplit
func clone() (pid uintptr, errno syscall.Errno) {
	pid, _, errno = syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
	return pid, errno
}

//go:nosplit
func exit() {
	for {
		syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 0, 0, 0)
	}
}

// fork makes processes until there can be no more, at most max, and ends them.
func fork(max string) (int64, string, error) {
	limit, _ := strconv.ParseInt(max, 10, 64)
	// The runtime dies when it may not have another thread, so it gets no
	// reason to ask for one.
	debug.SetGCPercent(-1)
	runtime.LockOSThread()
	pids := make([]uintptr, 0, limit)
	var errno syscall.Errno
	for int64(len(pids)) < limit && errno == 0 {
		var pid uintptr
		if pid, errno = clone(); errno != 0 {
			break
		}
		if pid == 0 {
			for {
				syscall.RawSyscall6(syscall.SYS_PPOLL, 0, 0, 0, 0, 0, 0)
			}
		}
		pids = append(pids, pid)
	}
	for _, pid := range pids {
		syscall.RawSyscall(syscall.SYS_KILL, pid, uintptr(syscall.SIGKILL), 0)
		syscall.RawSyscall6(syscall.SYS_WAIT4, pid, 0, 0, 0, 0, 0)
	}
	if errno != 0 {
		return int64(len(pids)), "", errno
	}
	return int64(len(pids)), "", nil
}

// zombies makes orphans that end at once, and counts those that nobody buried.
func zombies(count string) (int64, string, error) {
	n, _ := strconv.Atoi(count)
	for range n {
		pid, errno := clone()
		if errno != 0 {
			return 0, "", errno
		}
		if pid == 0 {
			clone() // the orphan and its parent both end here
			exit()
		}
		syscall.RawSyscall6(syscall.SYS_WAIT4, pid, 0, 0, 0, 0, 0)
	}
	var left int64
	for range 50 { // the undertaker may need a moment
		if left = dead(); left == 0 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	return left, "", nil
}

// dead counts the zombies that are to be seen.
func dead() (n int64) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, p := range stats {
		s := text(p)
		if i := strings.LastIndex(s, ")"); i > 0 && strings.HasPrefix(s[i+1:], " Z") {
			n++
		}
	}
	return n
}

// daemon leaves a process in a session of its own behind, says so, and ends.
func daemon() {
	cmd := exec.Command("/proc/self/exe", "script")
	cmd.Env = []string{"DUMMY_SLEEP=1h", "DUMMY_IGNORE_TERM=1"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		fail(err)
	}
	fmt.Println(cmd.Process.Pid)
	os.Exit(0)
}
