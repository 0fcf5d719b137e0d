package testenv_test

import (
	"io"
	"net"
	"testing"

	"github.com/ipdc/ipdc/internal/testenv"
)

func TestWire(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.Copy(io.Discard, c)
		_, _ = c.Write([]byte("pong!"))
	}()
	w := testenv.NewWire(t)
	talk := func() string {
		c, err := net.Dial("tcp", w.Addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _ = c.Write([]byte("ping"))
		_ = c.(*net.TCPConn).CloseWrite()
		b, _ := io.ReadAll(c)
		return string(b)
	}
	if got := talk(); got != "" || w.From() != 0 || w.To() != 0 {
		t.Errorf("a wire that leads nowhere carries %q", got)
	}
	w.LeadTo(l.Addr().String())
	if got := talk(); got != "pong!" || w.To() != 4 || w.From() != 5 || w.Conns() != 2 {
		t.Errorf("got %q; counted %d to, %d from, %d connections", got, w.To(), w.From(), w.Conns())
	}
}
