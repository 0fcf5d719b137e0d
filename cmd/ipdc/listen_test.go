package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ipdc/ipdc/internal/testenv"
)

// L02: the directory of the socket, whose name others can guess where the state's
// path is too long for a socket, is this user's own or is not used.
func TestL02PlantedSocketDirectory(t *testing.T) {
	testenv.Root(t) // to be two users
	const other = 65534
	for name, c := range map[string]struct {
		plant func(dir string) error
		taken bool
	}{
		"nothing is there": {func(string) error { return nil }, true},
		"its own":          {func(dir string) error { return os.Mkdir(dir, 0o700) }, true},
		"another user's": {func(dir string) error {
			if err := os.Mkdir(dir, 0o700); err != nil {
				return err
			}
			return os.Chown(dir, other, other)
		}, false},
		"for everybody": {func(dir string) error {
			if err := os.Mkdir(dir, 0o700); err != nil {
				return err
			}
			return os.Chmod(dir, 0o777)
		}, false},
		"a link to another user's": {func(dir string) error {
			if err := os.Mkdir(dir+".theirs", 0o700); err != nil {
				return err
			}
			if err := os.Chown(dir+".theirs", other, other); err != nil {
				return err
			}
			return os.Symlink(dir+".theirs", dir)
		}, false},
		"a link to its own": {func(dir string) error {
			if err := os.Mkdir(dir+".own", 0o700); err != nil {
				return err
			}
			return os.Symlink(dir+".own", dir)
		}, false},
		"a file": {func(dir string) error { return os.WriteFile(dir, nil, 0o600) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "ipdc-0")
			if err := c.plant(dir); err != nil {
				t.Fatal(err)
			}
			if err := privateDir(dir); (err == nil) != c.taken {
				t.Errorf("privateDir = %v, want it taken: %v", err, c.taken)
			}
		})
	}
}

// A command waits for a node that has begun to start, as the next line of a script
// does after a service manager has started one.
func TestCommandWaitsForANodeThatStarts(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "api.sock")
	if err := os.WriteFile(filepath.Join(dir, lockFile), fmt.Appendln(nil, os.Getpid()), 0o600); err != nil {
		t.Fatal(err)
	}
	listens := make(chan net.Listener, 1)
	time.AfterFunc(100*time.Millisecond, func() {
		l, err := net.Listen("unix", socket)
		if err != nil {
			t.Error(err)
		}
		listens <- l
	})
	awaitSocket(dir, socket)
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Errorf("after the wait the node does not listen: %v", err)
	} else {
		conn.Close()
	}
	(<-listens).Close()
}

// Nobody waits for a node that is gone, also where its number is another
// process's by now.
func TestNobodyWaitsForANodeThatIsGone(t *testing.T) {
	for _, pid := range []string{"1", "0", "-1", "", "4194305", "..", "x"} {
		if isNode(pid) {
			t.Errorf("the process %q runs this program", pid)
		}
	}
	if !isNode(fmt.Sprint(os.Getpid())) { // the control
		t.Error("this process does not run this program")
	}
}
