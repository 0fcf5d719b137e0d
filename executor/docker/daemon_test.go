package docker_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// hostDaemon runs the probe's daemon on the host itself as another user and
// returns the process it leaves, which ends with the test.
func hostDaemon(t *testing.T, uid uint32) int {
	t.Helper()
	program, err := probe()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "probe")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "probe")
	for _, err := range []error{os.Chmod(dir, 0o755), os.WriteFile(path, program, 0o755)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(path, "daemon")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("needs to run a program as another user: %v", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Errorf("end the daemon: %v", err)
		}
	})
	return pid
}

// usersProcesses counts the processes of a user on the host.
func usersProcesses(t *testing.T, uid int) (pids []int) {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		var st syscall.Stat_t
		if syscall.Stat(dir, &st) == nil && int(st.Uid) == uid {
			pid, _ := strconv.Atoi(filepath.Base(dir))
			pids = append(pids, pid)
		}
	}
	return pids
}

// TestDaemon leaves a process in a session of its own behind. The control is
// the same program outside of any container, where the process stays.
func TestDaemon(t *testing.T) {
	b := newBench(t)
	task := b.task("daemon")
	task.UID, task.GID = 70126, 70126
	if out := b.job(t, task); strings.TrimSpace(out) == "" {
		t.Fatal("the job started no daemon")
	}
	if left := usersProcesses(t, task.UID); len(left) != 0 {
		t.Errorf("R12: processes %v of the job are left after Wait", left)
	}
	pid := hostDaemon(t, 70127)
	if left := usersProcesses(t, 70127); len(left) != 1 || left[0] != pid {
		t.Errorf("R12 control: processes %v are left, want %d", left, pid)
	}
}
