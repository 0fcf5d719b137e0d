package api

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/ipdc/ipdc/internal/durable"
)

// maxSocketPath is what sockaddr_un holds on Linux, the final NUL left out.
const maxSocketPath = 107

// ListenUnix listens at path with mode 0600. The socket is made under a
// private name and moved to path when its mode is set, so that at no instant
// somebody else can connect. A socket that a killed node left is replaced, and
// what it left half made removed where that can be; one that answers is an
// error. Close removes the file, unless another node has put its own there.
func ListenUnix(path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("listen on %s: a socket's path has at most %d bytes, this one has %d", path, maxSocketPath, len(path))
	}
	if err := checkFree(path); err != nil {
		return nil, err
	}
	_ = durable.Sweep(filepath.Dir(path)) // what is left is in nobody's way
	dir, done, err := durable.TempDir(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	defer done()
	l, err := listenPrivate(dir)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	made, err := os.Lstat(filepath.Join(dir.Name(), "s"))
	if err == nil {
		err = os.Rename(filepath.Join(dir.Name(), "s"), path)
	}
	if err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	return &socket{UnixListener: l, path: path, made: made}, nil
}

// listenPrivate listens at dir/s. It goes through /proc, as the path of dir
// may be longer than a socket's can.
func listenPrivate(dir *os.File) (*net.UnixListener, error) {
	name := fmt.Sprintf("/proc/self/fd/%d/s", dir.Fd())
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	if err := os.Chmod(filepath.Join(dir.Name(), "s"), 0o600); err != nil {
		_ = l.Close()
		return nil, err
	}
	return l, nil
}

// checkFree makes sure that nothing answers at path.
func checkFree(path string) error {
	fi, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("listen on %s: %w", path, err)
	}
	if fi.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("listen on %s: there is a file that is no socket", path)
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		_ = c.Close()
		return fmt.Errorf("listen on %s: another node listens there: %w", path, syscall.EADDRINUSE)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("listen on %s: %w", path, err)
	}
	return nil
}

// socket is a listener that was moved after it was bound.
type socket struct {
	*net.UnixListener
	path string
	made fs.FileInfo
}

// sendBuffer is what the system holds of an answer that the client has not read
// yet, where it allows that much: both sides then work on more than a block.
const sendBuffer = 2 << 20

// Accept implements net.Listener.
func (s *socket) Accept() (net.Conn, error) {
	c, err := s.AcceptUnix()
	if err != nil {
		return nil, err
	}
	_ = c.SetWriteBuffer(sendBuffer) // a smaller one does as well
	return c, nil
}

// Addr returns where the socket is, not where it was bound.
func (s *socket) Addr() net.Addr { return &net.UnixAddr{Name: s.path, Net: "unix"} }

// Close stops listening and removes the file. Calling it twice is safe.
func (s *socket) Close() error {
	err := s.UnixListener.Close()
	if now, statErr := os.Lstat(s.path); statErr == nil && os.SameFile(now, s.made) {
		_ = os.Remove(s.path) // another node replaces it anyway
	}
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
