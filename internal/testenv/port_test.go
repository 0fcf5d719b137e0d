package testenv_test

import (
	"net"
	"testing"

	"github.com/ipdc/ipdc/internal/testenv"
)

// Who asks for the port listens there, also a second time; who asks for any port is
// never given it.
func TestPort(t *testing.T) {
	addr := testenv.Port(t)
	for range 2 {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Close(), l.Close()
	}
	for range 20_000 { // about as many as there are
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if l.Addr().String() == addr {
			t.Fatalf("%s is given to somebody else", addr)
		}
		l.Close()
	}
}
