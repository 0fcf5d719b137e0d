package broker

import (
	"io"
	"net"
	"testing"
)

// When Close returns nothing serves a connection any more, and the server was
// not asked to end them: it can wait for itself then.
func TestClose(t *testing.T) {
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := newListener(ln, Config{Clients: 4})
	const clients = 4
	established, ended := make(chan string), make(chan error, clients)
	go l.Serve(func(id string, conn net.Conn) error {
		established <- id
		_, err := conn.Read(make([]byte, 1))
		ended <- err
		return err
	})
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
		if err := <-ended; err == nil || err == io.EOF {
			t.Errorf("Read = %v, want that the connection is closed", err)
		}
	}
	l.Close(nil) // twice is safe
}
