package wasm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ipdc/ipdc/executor"
)

// namespaces are those of a runner: no network, no view of the host's files
// or processes. Without privileges a user namespace gives the right to make
// the others.
func namespaces() *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS}
	if os.Geteuid() != 0 {
		a.Cloneflags |= syscall.CLONE_NEWUSER
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	return a
}

// confine makes the calling process, which is in namespaces of its own, one
// that sees the task's mounts only and has no rights. dir/root is the mount
// point of the new root.
func confine(t executor.Task, dir string) error {
	mapped := ownNamespace()
	if err := limits(t); err != nil {
		return fmt.Errorf("set limits: %w", err)
	}
	root := filepath.Join(dir, rootDir)
	if err := os.MkdirAll(root, 0o700); err != nil {
		return err
	}
	if err := build(t, root); err != nil {
		return fmt.Errorf("build sandbox: %w", err)
	}
	if err := pivot(root); err != nil {
		return fmt.Errorf("enter sandbox: %w", err)
	}
	if err := drop(t, mapped); err != nil {
		return fmt.Errorf("drop rights: %w", err)
	}
	return nil
}

// ownNamespace reports whether root here is an ordinary user outside.
func ownNamespace() bool {
	b, err := os.ReadFile("/proc/self/uid_map")
	var inside, outside, size int64
	_, scan := fmt.Sscan(string(b), &inside, &outside, &size)
	return err == nil && scan == nil && size == 1
}

const quiet = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// build mounts the task's directories below root. What is mounted elsewhere
// stays a slave of the host's, so that a volume which goes there goes here.
func build(t executor.Task, root string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", root, "tmpfs", quiet, "size=1m,mode=755"); err != nil {
		return fmt.Errorf("mount /: %w", err)
	}
	for _, m := range t.Mounts {
		if err := bind(m, filepath.Join(root, m.Target)); err != nil {
			return fmt.Errorf("mount %s at %s: %w", m.Source, m.Target, err)
		}
	}
	for target, size := range map[string]int64{"/tmp": int64(t.Tmp), "/dev/shm": int64(t.Shm)} {
		path := filepath.Join(root, target)
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
		if err := unix.Mount("tmpfs", path, "tmpfs", quiet, fmt.Sprintf("size=%d,nr_inodes=10000,mode=1777", size)); err != nil {
			return fmt.Errorf("mount %s: %w", target, err)
		}
	}
	if err := os.MkdirAll(filepath.Join(root, t.WorkDir), 0o755); err != nil && !errors.Is(err, unix.EROFS) {
		return err
	}
	return unix.Mount("", root, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|quiet, "")
}

// bind shows m.Source at target, which it makes: a directory or a file.
func bind(m executor.Mount, target string) error {
	info, err := os.Stat(m.Source)
	if err != nil {
		return err
	}
	if info.IsDir() {
		err = os.MkdirAll(target, 0o755)
	} else if err = os.MkdirAll(filepath.Dir(target), 0o755); err == nil {
		err = os.WriteFile(target, nil, 0o644)
	}
	if err != nil {
		return err
	}
	if err := unix.Mount(m.Source, target, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	flags := uintptr(unix.MS_BIND | unix.MS_REMOUNT | quiet)
	if m.ReadOnly {
		flags |= unix.MS_RDONLY
	}
	return unix.Mount("", target, "", flags, "")
}

// pivot makes root the root and lets go of the old one.
func pivot(root string) error {
	if err := unix.Chdir(root); err != nil {
		return err
	}
	// The old root comes to lie upon the new one and is taken away from there.
	if err := unix.PivotRoot(".", "."); err != nil {
		return err
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return err
	}
	return unix.Chdir("/")
}

// limits sets what holds with and without control groups.
func limits(t executor.Task) error {
	// Of the runner's own: three pipes, the poller, directories that are open.
	files := uint64(t.NoFile) + 32
	return errors.Join(
		unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: files, Max: files}),
		unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}),
	)
}

// limitWithoutGroup is what is left where control groups cannot be used: the
// module runs on one processor, after all others, within a bound of memory.
func limitWithoutGroup(t executor.Task) error {
	data := uint64(t.Memory + overhead)
	return errors.Join(
		unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: data, Max: data}),
		unix.Setpriority(unix.PRIO_PROCESS, 0, 10),
	)
}

// drop gives up all rights. As root they go with the user id; in a user
// namespace, where there is one id only, each of them is taken away.
func drop(t executor.Task, mapped bool) error {
	if mapped {
		return dropCapabilities()
	}
	if os.Geteuid() != 0 {
		return nil
	}
	if err := syscall.Setgroups(nil); err != nil {
		return err
	}
	if err := syscall.Setgid(t.GID); err != nil {
		return err
	}
	if err := syscall.Setuid(t.UID); err != nil {
		return err
	}
	// The kernel forgets it with the change of the user.
	return unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
}
