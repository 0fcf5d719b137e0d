// Package mountsock makes the unix sockets that a container finds in a
// directory that is mounted there.
//
//	l, err := mountsock.Listen(dir, "proxy.sock")
//
// Invariant: the container's user may connect to the socket and change nothing.
package mountsock

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// Listen listens on dir/name. It makes dir when it is missing, and replaces a
// socket that an earlier process left, so that a container that has dir mounted
// finds the new one. It goes through /proc, as the path of dir may be longer
// than a socket's can. The caller removes the socket.
func Listen(dir, name string) (*net.UnixListener, error) {
	// Modes are set apart from making, as the node runs with umask 077.
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.Chmod(dir, 0o755)); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, name)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), name), Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // the number may be another directory's by then
	if err := os.Chmod(path, 0o666); err != nil {
		_ = l.Close()
		return nil, err
	}
	return l, nil
}
