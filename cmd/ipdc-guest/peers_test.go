package main_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/wire/guest"
)

// What a program has said to another task arrives though it ends at once, as it
// would by TCP, also where the way is slow.
func TestLastWords(t *testing.T) {
	b := newBox(t, nil)
	b.must(os.MkdirAll(b.at(guest.PeersDir), 0o755))
	l, err := net.Listen("unix", filepath.Join(b.at(guest.PeersDir), guest.PeersSocket))
	b.must(err)
	t.Cleanup(func() { l.Close() })
	const said = 1 << 20
	heard := make(chan int64, 1)
	go func() { // the sidecar
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				r := bufio.NewReader(c)
				if hello, err := r.ReadString('\n'); err != nil || hello != guest.HelloTo+"b\n" {
					_, _ = r.ReadByte() // who waits for streams waits
					return
				}
				_, _ = c.Write([]byte{guest.Joined})
				time.Sleep(50 * time.Millisecond) // behind the program's end
				var all counter
				if err := guest.ReceiveFrames(&all, r); err != nil {
					all = -1
				}
				heard <- int64(all)
			}()
		}
	}()
	ports := freePorts(t, 2)
	r := b.run(guest.Task{
		Command: []string{"bash", "-c", fmt.Sprintf("head -c %d /dev/zero > /dev/tcp/127.0.0.1/%d", said, ports[1])},
		Peers:   []guest.Peer{{Name: "a", Port: ports[0]}, {Name: "b", Port: ports[1]}},
	})
	if r.code != 0 {
		t.Fatalf("exit code %d: %s", r.code, r.stderr)
	}
	select {
	case got := <-heard:
		if got != said {
			t.Errorf("the other task was told %d bytes, -1 for a cut, want %d", got, said)
		}
	case <-time.After(30 * time.Second):
		t.Error("nothing was heard")
	}
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// freePorts are given to nobody else until the end of the test.
func freePorts(t *testing.T, n int) (ports []int) {
	t.Helper()
	for range n {
		at, err := net.ResolveTCPAddr("tcp", testenv.Port(t))
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, at.Port)
	}
	return ports
}
