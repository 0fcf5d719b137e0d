package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipdc/ipdc/wire/guest"
)

// Patience of the guest with the sidecar.
const (
	helloFor   = 20 * time.Second       // for the answer to a hello that opens a stream; the sidecar is faster
	awayPause  = 250 * time.Millisecond // before the sidecar is asked again, while it is away
	waiters    = 4                      // connections that wait for streams of others
	selfFor    = 2 * time.Second        // for the program to take a connection
	maxStreams = 128                    // that the program may have open to others at once
	lingerFor  = 3 * time.Second        // for what the program has said, after its end; half of what a stop leaves it
)

// peers joins the program of a gang's task with those of the others: each of
// them is an address here. A nil peers has no gang.
type peers struct {
	*conns
	task      guest.Task
	socket    string
	self      string // address of the program
	listeners []net.Listener
	slots     chan struct{}
	carried   atomic.Int64 // connections of the program that are carried, or are about to be
}

// openPeers returns nil for a task that is of no gang. host is where programs
// find each other.
func openPeers(root, host string) (*peers, error) {
	b, err := os.ReadFile(filepath.Join(root, guest.TaskFile))
	if err != nil {
		return nil, nil // who runs the task says so
	}
	var task guest.Task
	if err := json.Unmarshal(b, &task); err != nil || len(task.Peers) == 0 || task.Validate() != nil {
		return nil, nil // likewise
	}
	p := &peers{
		conns: newConns(), task: task, socket: filepath.Join(root, guest.PeersDir, guest.PeersSocket),
		self: address(host, task.Peers[task.Self].Port), slots: make(chan struct{}, maxStreams),
	}
	for i, t := range task.Peers {
		if i == task.Self {
			continue
		}
		l, err := net.Listen("tcp", address(host, t.Port))
		if err != nil {
			p.close()
			return nil, fmt.Errorf("offer task %s: %w", t.Name, err)
		}
		p.listeners = append(p.listeners, l)
		p.work.Go(func() { p.serve(l, func(c net.Conn) { p.open(c.(*net.TCPConn), t.Name) }) })
	}
	for range waiters {
		p.work.Go(p.wait)
	}
	return p, nil
}

func address(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

func (p *peers) close() {
	if p == nil {
		return
	}
	for _, l := range p.listeners {
		_ = l.Close()
	}
	// As with TCP, a program that ends has said what it wrote before.
	for end := time.Now().Add(lingerFor); p.carried.Load() > 0 && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	p.conns.close()
}

// names are the hosts that must be reached without a proxy.
func (p *peers) names() (list []string) {
	if p != nil {
		for _, t := range p.task.Peers {
			list = append(list, t.Name)
		}
	}
	return list
}

// open carries a connection of the program to another task. Where that does
// not listen, the program sees its connection reset.
func (p *peers) open(program *net.TCPConn, to string) {
	defer p.track(program)()
	p.carried.Add(1)
	defer p.carried.Add(-1)
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	default:
		reset(program)
		return
	}
	side, err := p.hello(guest.HelloTo + to)
	if err != nil {
		reset(program)
		return
	}
	defer p.track(side)()
	_ = side.SetReadDeadline(time.Now().Add(helloFor))
	if !joined(side) {
		reset(program)
		return
	}
	_ = side.SetReadDeadline(time.Time{})
	carryFrames(program, side)
}

// wait takes streams that other tasks open, one after the other, and lets each
// be carried beside it.
func (p *peers) wait() {
	for {
		side, err := p.hello(guest.HelloAccept)
		if err == nil {
			untrack := p.track(side)
			if joined(side) {
				p.work.Go(func() {
					defer untrack()
					p.take(side)
				})
				continue
			}
			untrack()
		}
		if !p.pause(awayPause) {
			return
		}
	}
}

// take carries a stream of another task to the program.
func (p *peers) take(side *net.UnixConn) {
	c, err := net.DialTimeout("tcp", p.self, selfFor)
	if err != nil {
		_, _ = side.Write([]byte{guest.Deaf}) // who opened it may be gone
		return
	}
	defer p.track(c)()
	if _, err := side.Write([]byte{guest.Joined}); err != nil {
		return
	}
	p.carried.Add(1)
	defer p.carried.Add(-1)
	carryFrames(c.(*net.TCPConn), side)
}

// hello connects to the sidecar and says what for.
func (p *peers) hello(line string) (*net.UnixConn, error) {
	c, err := net.Dial("unix", p.socket)
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(c, line+"\n"); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c.(*net.UnixConn), nil
}

// joined waits for the answer to a hello.
func joined(side net.Conn) bool {
	b := make([]byte, 1)
	_, err := io.ReadFull(side, b)
	return err == nil && b[0] == guest.Joined
}

// carryFrames joins the program with a stream, until both have said all. A
// stream that was cut is no end: the program sees a reset.
func carryFrames(program *net.TCPConn, side *net.UnixConn) {
	var both sync.WaitGroup
	direction := func(err error, end func() error) {
		if err == nil {
			err = end()
		}
		if err != nil {
			reset(program)
			_ = side.Close()
		}
	}
	both.Go(func() { direction(guest.SendFrames(side, program), side.CloseWrite) })
	both.Go(func() { direction(guest.ReceiveFrames(program, side), program.CloseWrite) })
	both.Wait()
}

// reset closes a connection so that its other side gets an error.
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}
