package testenv

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
)

// FreeAddr returns host:port of the loopback interface where nothing listens, for
// a program that takes no socket that is open already. The port is below those
// that the kernel gives to whoever asks for any: nobody gets it meanwhile, and
// nobody who dials it in vain comes to be connected to himself.
func FreeAddr(t testing.TB) string {
	t.Helper()
	var err error
	for range 100 {
		addr := fmt.Sprint("127.0.0.1:", 10_000+rand.IntN(20_000))
		l, lerr := net.Listen("tcp", addr)
		if lerr == nil {
			_ = l.Close()
			return addr
		}
		err = lerr
	}
	t.Fatalf("no port is free: %v", err)
	return ""
}

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
