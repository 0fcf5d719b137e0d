package client_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/ipdc/ipdc/client"
)

// A connection says its end by CloseWrite only: Close alone may follow an
// error, and the task must not take what came for the whole.
func TestDialEnd(t *testing.T) {
	const frame = "\x00\x00\x00\x01x"
	for name, test := range map[string]struct {
		whole bool
		want  string
	}{
		"CloseWrite and Close": {true, frame + "\x00\x00\x00\x00"},
		"Close":                {false, frame},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			var g errgroup.Group
			var got []byte
			g.Go(func() error { // a node
				nc, err := l.Accept()
				if err != nil {
					return err
				}
				defer nc.Close()
				br := bufio.NewReader(nc)
				if _, err := http.ReadRequest(br); err != nil {
					return err
				}
				if _, err := io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ipdc-stream\r\n\r\n"); err != nil {
					return err
				}
				got, err = io.ReadAll(br)
				return err
			})
			c, err := client.New("http://" + l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			conn, err := c.Dial(t.Context(), "job", "a-0")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Write([]byte("x")); err != nil {
				t.Error(err)
			}
			if test.whole {
				if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
					t.Error(err)
				}
			}
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
			if err := g.Wait(); err != nil || string(got) != test.want {
				t.Errorf("the node reads %q, %v, want %q", got, err, test.want)
			}
		})
	}
}
