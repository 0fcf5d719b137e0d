package docker_test

import (
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/executor/docker"
	"github.com/ipdc/ipdc/executor/executortest"
	"github.com/ipdc/ipdc/internal/testenv"
)

// cutter passes connections on to the engine and cuts them on demand.
type cutter struct {
	mu    sync.Mutex
	conns []net.Conn
	g     errgroup.Group
}

func newCutter(t *testing.T, engine string) (*cutter, string) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{}
	c.g.Go(func() error {
		for {
			in, err := l.Accept()
			if err != nil {
				return nil // closed
			}
			out, err := net.Dial("unix", strings.TrimPrefix(engine, "unix://"))
			if err != nil {
				in.Close()
				continue
			}
			c.mu.Lock()
			c.conns = append(c.conns, in, out)
			c.mu.Unlock()
			c.g.Go(func() error { _, _ = io.Copy(out, in); out.Close(); return nil })
			c.g.Go(func() error { _, _ = io.Copy(in, out); in.Close(); return nil })
		}
	})
	t.Cleanup(func() {
		l.Close()
		c.cut()
		_ = c.g.Wait()
	})
	return c, "unix://" + l.Addr().String()
}

func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		conn.Close()
	}
	c.conns = nil
}

// cutUntil cuts every connection four times a second until wait returns. It
// returns how many times it did and wait's error.
func (c *cutter) cutUntil(wait func() error) (n int, err error) {
	done := make(chan struct{}) // closed when wait has returned
	var g errgroup.Group
	g.Go(func() error {
		defer close(done)
		return wait()
	})
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return n, g.Wait()
		case <-tick.C:
			c.cut()
			n++
		}
	}
}

// TestF12StreamsCut cuts every connection to the engine again and again
// while Wait and Logs are under way.
func TestF12StreamsCut(t *testing.T) {
	b := newBench(t)
	task := b.task("script")
	task.Env = append(task.Env, "DUMMY_LINES=2000", "DUMMY_SLEEP=2s", "DUMMY_EXIT=19")
	id := b.start(t, task)
	c, host := newCutter(t, testenv.Docker(t))
	ex, err := docker.Open(t.Context(), docker.Config{Host: host})
	if err != nil {
		t.Fatal(err)
	}
	defer ex.Close()
	var g errgroup.Group
	var sink executortest.Sink
	var exit executor.Exit
	g.Go(func() error { return ex.Logs(bounded(t), id, &sink) })
	g.Go(func() (err error) { exit, err = ex.Wait(bounded(t), id); return err })
	n, err := c.cutUntil(g.Wait)
	if err != nil || exit.Code != 19 {
		t.Errorf("Wait = %+v, error %v, want code 19", exit, err)
	}
	var want strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&want, "line %d\n", i+1)
	}
	if sink.Out.String() != want.String() {
		t.Errorf("Logs gave %d bytes, want %d, each line once", sink.Out.Len(), want.Len())
	}
	if n < 3 {
		t.Errorf("%d cuts, want several", n)
	}
}
