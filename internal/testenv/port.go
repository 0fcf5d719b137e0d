package testenv

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// Port returns host:port on the loopback interface for a program that takes no
// socket that is open already. Until the end of the test nobody else is given
// that port: it is bound here, by a socket that does not listen, and whoever asks
// for it by its number may bind it too, as servers do that allow an address to be
// used again.
func Port(t testing.TB) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	is, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", is.(*unix.SockaddrInet4).Port)
}
