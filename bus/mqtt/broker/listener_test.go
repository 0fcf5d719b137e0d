package broker

import (
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
)

// scarce is a socket of a machine that has no file descriptor left once.
type scarce struct {
	net.Listener
	failed atomic.Bool
}

func (s *scarce) Accept() (net.Conn, error) {
	if !s.failed.Swap(true) {
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return s.Listener.Accept()
}

// When Close returns nothing serves a connection any more, and the server's own
// way to end them, which can wait for itself, was not used.
func TestClose(t *testing.T) {
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := newListener(&scarce{Listener: ln}, Config{Clients: 4})
	const clients = 4
	established, ended := make(chan string), make(chan error, clients)
	serves := make(chan struct{})
	go func() {
		defer close(serves)
		l.Serve(func(id string, conn net.Conn) error {
			established <- id
			_, err := conn.Read(make([]byte, 1))
			ended <- err
			return err
		})
	}()
	for range clients {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Address())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if id := <-established; id != l.ID() {
			t.Errorf("established at %q, want %q", id, l.ID())
		}
	}
	l.Close(func(string) { t.Error("the server was asked to end the connections") })
	if len(ended) != clients {
		t.Errorf("%d of %d connections have ended", len(ended), clients)
	}
	for range len(ended) {
		if err := <-ended; err == nil || errors.Is(err, io.EOF) {
			t.Errorf("Read = %v, want that the connection is closed", err)
		}
	}
	l.Close(nil) // twice is safe
	<-serves
}
