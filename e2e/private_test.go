package e2e

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/jobspec"
)

// Z10, L01, L02: nothing lies where others could have put something or look: not even
// for a user whose files are for everybody. Nothing of a node or a job is in the
// directory for everybody's temporary files: here there is none.
func TestZ10L01L02PrivatePaths(t *testing.T) {
	for _, path := range []string{"/tmp/Map.py", "/tmp/.db", "/tmp/Reduce.py"} { // where it was in 2018
		if err := os.Symlink("/nonexistent/z10", path); err != nil {
			t.Fatal(err)
		}
		defer os.Remove(path)
	}
	n := newNodeBy(t, []string{"sh", "-c", `umask 0; TMPDIR=/nonexistent; exec "$@"`, "sh"})
	in := n.ok("add", "-q", write(t, t.TempDir(), "Map.py", "x"))
	n.ok("job", "submit", "-e", "cat", "-c", in)
	long := n.ok("job", "submit", "-d", "--once", "-e", "sleep 600", "-c", in) // so that its files are there
	n.await("the container to run", time.Minute, func() bool {
		a := n.job(long).Attempts
		return len(a) > 0 && a[0].State == jobspec.AttemptRunning
	})
	seenByNobody(t, n)
	n.ok("job", "stop", long)
	open := func(root string) (found []string) {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return nil // it has gone
			}
			info, err := d.Info()
			if err != nil {
				return nil
			}
			if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) == os.Getuid() && info.Mode().Type()&fs.ModeSymlink == 0 && info.Mode().Perm()&0o002 != 0 {
				found = append(found, path)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		return found
	}
	info, err := os.Stat(n.dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the state directory is %v, %v; want 0700", info.Mode(), err)
	}
	for _, secret := range []string{"identity.key", "token", "api.sock", "state.db"} {
		if info, err := os.Stat(filepath.Join(n.dir, secret)); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v; want nothing for others", secret, info.Mode(), err)
		}
	}
	if found := open(n.dir); len(found) > 0 {
		t.Errorf("others can write to %q", found)
	}
	control := t.TempDir()
	if err := os.Chmod(write(t, control, "file", ""), 0o666); err != nil || len(open(control)) != 1 {
		t.Errorf("control: an open file is not found: %v", err)
	}
}

// seenByNobody looks at a node's files and sockets as the user nobody, who sees
// none, even of what is behind the state directory, but what containers are shown.
func seenByNobody(t *testing.T, n *node) {
	t.Helper()
	control := testenv.OpenToAll(t)
	l, err := net.Listen("unix", filepath.Join(control, "api.sock"))
	if err == nil {
		err = os.Chmod(l.Addr().String(), 0o666)
		defer l.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	write(t, control, "token", "x")
	through := func(dir *os.File, name string) error {
		fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Close(fd)
		}
		return err
	}
	var dirs []*os.File // all that there are, as descriptors that came to somebody
	opened := func(dir string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			f, err := os.Open(dir)
			if err != nil {
				return nil // it has gone
			}
			dirs = append(dirs, f)
			t.Cleanup(func() { f.Close() })
		}
		return nil
	}
	if err := errors.Join(filepath.WalkDir(control, opened), filepath.WalkDir(n.dir, opened)); err != nil || len(dirs) < 6 {
		t.Fatalf("control: the state has %d directories, %v", len(dirs)-1, err)
	}
	open, behind, dirs := dirs[0], dirs[1], dirs[1:]
	testenv.AsNobody(t, func() {
		if list, err := os.ReadDir(control); err != nil || len(list) != 2 {
			t.Errorf("control: nobody sees %v, %v", list, err)
		}
		if _, err := os.ReadFile(filepath.Join(control, "token")); err != nil {
			t.Errorf("control: %v", err)
		}
		for _, name := range []string{".", "token"} {
			if err := through(open, name); err != nil {
				t.Errorf("control: through a descriptor: %s: %v", name, err)
			}
		}
		if c, err := net.Dial("unix", filepath.Join(control, "api.sock")); err != nil {
			t.Errorf("control: %v", err)
		} else {
			c.Close()
		}
		for _, dir := range dirs {
			rel, _ := filepath.Rel(n.dir, dir.Name())
			if shown := regexp.MustCompile(`^(inputs/[^/]+/data|run/[^/]+/empty)$`); shown.MatchString(rel) {
				continue
			}
			if err := through(dir, "."); !errors.Is(err, fs.ErrPermission) {
				t.Errorf("nobody sees what is in %s: %v", dir.Name(), err)
			}
		}
		for _, secret := range []string{"identity.key", "token", "state.db"} {
			if _, err := os.ReadFile(filepath.Join(n.dir, secret)); !errors.Is(err, fs.ErrPermission) {
				t.Errorf("nobody reads %s: %v", secret, err)
			}
			if err := through(behind, secret); !errors.Is(err, fs.ErrPermission) {
				t.Errorf("nobody reads %s through a descriptor: %v", secret, err)
			}
		}
		if _, err := net.Dial("unix", filepath.Join(n.dir, "api.sock")); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("nobody reaches the socket: %v", err)
		}
	})
}
