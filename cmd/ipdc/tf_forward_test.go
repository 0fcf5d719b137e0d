package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/workload/tensorflow"
)

// Each address of a cluster leads to its own task, in both directions and to
// the end of each.
func TestForwarder(t *testing.T) {
	far, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	conf, err := tensorflow.NewConf(map[string]int{"ps": 1, "worker": 2})
	if err != nil {
		t.Fatal(err)
	}
	var ports []int
	for range conf.Tasks() {
		at, err := net.ResolveTCPAddr("tcp", testenv.Port(t))
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, at.Port)
	}
	cluster := tensorflow.NewCluster(conf, ports)
	var said bytes.Buffer
	asked := make(chan struct{}) // who is cut at once may see it when dialling
	fw := &forwarder{app: &app{err: &said}, dial: func(ctx context.Context, task string) (net.Conn, error) {
		if task == "worker-1" {
			<-asked
			return nil, errors.New("it is not there")
		}
		nc, err := new(net.Dialer).DialContext(ctx, "tcp", far.Addr().String())
		if err == nil {
			_, err = io.WriteString(nc, task+" ")
		}
		return nc, err
	}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if err := fw.listen(ctx, cluster); err != nil {
		t.Fatal(err)
	}
	if err := (&forwarder{app: fw.app}).listen(ctx, cluster); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second listen = %v, want that the address is in use", err)
	}
	var g errgroup.Group
	g.Go(func() error { return fw.serve(ctx) })
	g.Go(func() error { // a task: says back what it was told, once that has ended
		for {
			nc, err := far.Accept()
			if err != nil {
				return nil
			}
			b, err := io.ReadAll(nc)
			if err == nil {
				_, err = nc.Write(append(b, '!'))
			}
			if err := errors.Join(err, nc.Close()); err != nil && !errors.Is(err, syscall.ECONNRESET) { // as at the end
				return err
			}
		}
	})
	for task, want := range map[string]string{"ps-0": "ps-0 hello!", "worker-0": "worker-0 hello!", "worker-1": ""} {
		addr := ""
		for _, tk := range cluster.Tasks() {
			if tk.Name == task {
				addr = tk.Addr
			}
		}
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if task == "worker-1" {
			close(asked)
		}
		_, _ = io.WriteString(nc, "hello")
		_ = nc.(*net.TCPConn).CloseWrite()
		got, _ := io.ReadAll(nc) // a task that is not there may cut it
		if string(got) != want {
			t.Errorf("%s answers %q, want %q", task, got, want)
		}
		_ = nc.Close()
	}
	open, err := net.Dial("tcp", cluster.Tasks()[0].Addr)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	_ = far.Close()
	if err := g.Wait(); err != nil { // also ends what is open
		t.Error(err)
	}
	_ = open.Close()
	if !strings.Contains(said.String(), "worker-1: it is not there") {
		t.Errorf("it says %q, want why worker-1 did not answer", said.String())
	}
}

// A connection that was cut is cut at the other side, too: an end it would be
// only where everything came.
func TestForwarderCut(t *testing.T) {
	far, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	near, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	there, asked := true, make(chan struct{})
	fw := &forwarder{app: &app{err: io.Discard}, tasks: []tensorflow.Task{{Name: "a-0"}}, at: []net.Listener{near}}
	fw.dial = func(ctx context.Context, _ string) (net.Conn, error) {
		if !there {
			<-asked
			return nil, errors.New("it is not there")
		}
		return new(net.Dialer).DialContext(ctx, "tcp", far.Addr().String())
	}
	ctx, cancel := context.WithCancel(t.Context())
	var g errgroup.Group
	g.Go(func() error { return fw.serve(ctx) })
	dial := func() net.Conn {
		nc, err := net.Dial("tcp", near.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return nc
	}
	both := func() (program, task net.Conn) {
		program = dial()
		task, err := far.Accept()
		if err == nil {
			_, err = program.Write([]byte("x"))
		}
		if err == nil {
			_, err = io.ReadFull(task, make([]byte, 1)) // they are joined
		}
		if err != nil {
			t.Fatal(err)
		}
		return program, task
	}
	reset := func(what string, c net.Conn) {
		t.Helper()
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		if n, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: Read = %d, %v, want %v", what, n, err, syscall.ECONNRESET)
		}
		_ = c.Close()
	}
	program, task := both()
	cut(program)
	reset("the program is killed", task)
	program, task = both()
	cut(task)
	reset("the task is cut", program)
	program, task = both()
	cancel()
	reset("the forward ends: program", program)
	reset("the forward ends: task", task)
	if err := g.Wait(); err != nil {
		t.Error(err)
	}

	there = false
	if near, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	fw.at = []net.Listener{near}
	ctx, cancel = context.WithCancel(t.Context())
	g.Go(func() error { return fw.serve(ctx) })
	program = dial()
	close(asked)
	reset("the task is not there", program)
	cancel()
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}

// tired is a listener that cannot take the first connection.
type tired struct {
	net.Listener
	calls int // of Accept, which one goroutine makes
}

func (l *tired) Accept() (net.Conn, error) {
	if l.calls++; l.calls == 1 {
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return l.Listener.Accept()
}

// A forward that has too many files open says so, and goes on.
func TestForwarderGoesOn(t *testing.T) {
	near, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var said bytes.Buffer
	fw := &forwarder{app: &app{err: &said}, tasks: []tensorflow.Task{{Name: "a-0"}}, at: []net.Listener{&tired{Listener: near}}}
	fw.dial = func(context.Context, string) (net.Conn, error) {
		cancel() // it was taken
		return nil, context.Canceled
	}
	var g errgroup.Group
	g.Go(func() error { return fw.serve(ctx) })
	nc, err := net.Dial("tcp", near.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := g.Wait(); err != nil || !strings.Contains(said.String(), "a-0: accept: too many open files") {
		t.Errorf("serve = %v and says %q, want why it paused", err, said.String())
	}
}

// A program that is run in the place of ipdc gives its exit code.
func TestRunCommand(t *testing.T) {
	var out bytes.Buffer
	a := &app{out: &out, err: io.Discard}
	for script, want := range map[string]int{"cat; exit 0": 0, "exit 3": 3, "kill -TERM $$": 143} {
		a.in = strings.NewReader("in") // which a script may leave unread
		if got := a.exit(a.runCommand(t.Context(), []string{"sh", "-c", script})); got != want {
			t.Errorf("sh -c %q ends with %d, want %d", script, got, want)
		}
	}
	if out.String() != "in" {
		t.Errorf("standard output is %q, want what came in", out.String())
	}
	if err := a.runCommand(t.Context(), []string{"/there/is/no/such"}); err == nil {
		t.Error("a command that is not there runs")
	}
}
