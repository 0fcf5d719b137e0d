package testenv

import (
	"os"

	"golang.org/x/sys/unix"
)

// InMemory lets the directories of a package's tests lie in memory, where there
// are 4 GiB for them. Call it in TestMain.
func InMemory() {
	const dir = "/dev/shm"
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil || st.Type != unix.TMPFS_MAGIC || st.Bavail*uint64(st.Bsize) < 4<<30 {
		return
	}
	os.Setenv("TMPDIR", dir)
}
