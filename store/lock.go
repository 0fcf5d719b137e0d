package store

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ipdc/ipdc/jobspec"
)

// lock takes the lock file beside path, which the kernel frees when this
// process ends, however it ends.
func lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock state database: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return f, nil
	}
	f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, inUse(path)
	}
	return nil, fmt.Errorf("lock state database %s: %w", path, err)
}

// inUse is the error for a database that another process holds.
func inUse(path string) error {
	who, hint := "another process", "stop it, or name another state directory"
	if pid := holder(path+".lock", path+"-shm", path); pid > 0 {
		who = fmt.Sprintf("process %d", pid)
		if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err == nil {
			who += " (" + strings.TrimSpace(string(name)) + ")"
		}
	}
	return jobspec.Failure{Kind: jobspec.KindConflict, Where: path, Detail: "the state database is in use by " + who + "; " + hint, Hint: hint}.Error()
}

// holder returns the id of a process other than this one that has a lock on
// one of the files, or 0. The locks are read from /proc/locks, because opening
// a file of a database again and closing it would drop SQLite's own locks.
func holder(paths ...string) int {
	inodes := map[string]bool{}
	for _, p := range paths {
		var st unix.Stat_t
		if unix.Stat(p, &st) == nil {
			inodes[strconv.FormatUint(st.Ino, 10)] = true
		}
	}
	table, err := os.ReadFile("/proc/locks")
	if err != nil {
		return 0
	}
	// "1: POSIX  ADVISORY  WRITE 1234 fe:00:5678 120 120"
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) < 8 || f[1] == "->" {
			continue
		}
		_, inode, _ := strings.Cut(f[5][strings.Index(f[5], ":")+1:], ":")
		pid, err := strconv.Atoi(f[4])
		if err == nil && inodes[inode] && pid != os.Getpid() {
			return pid
		}
	}
	return 0
}
