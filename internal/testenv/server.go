package testenv

import (
	"net"
	"net/netip"
	"testing"
)

// Serve answers who connects to an address of this machine, one after the other,
// until the end of the test. It closes what answer leaves open.
func Serve(t testing.TB, addr string, answer func(net.Conn)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			answer(c)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return netip.MustParseAddrPort(l.Addr().String())
}
