package testenv

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

// Nobody is the user of [AsNobody].
const Nobody = 65534

// AsNobody runs look on a thread that has no more rights to files than the user
// nobody. The thread ends with it.
func AsNobody(t testing.TB, look func()) {
	t.Helper()
	Root(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETGROUPS, 0, 0, 0); errno != 0 {
			t.Errorf("setgroups: %v", errno)
			return
		}
		for _, call := range []uintptr{syscall.SYS_SETFSGID, syscall.SYS_SETFSUID} {
			_, _, _ = syscall.RawSyscall(call, Nobody, 0, 0) // it returns what was before
		}
		look()
	}()
	<-done
}

// OpenToAll makes a directory, in a temporary one of a test's, where everybody
// may come and see.
func OpenToAll(t testing.TB) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "all")
	for at := dir; at != os.TempDir() && at != "/"; at = filepath.Dir(at) {
		if err := errors.Join(os.MkdirAll(at, 0o755), os.Chmod(at, 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
