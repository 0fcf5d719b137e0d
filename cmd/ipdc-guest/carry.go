package main

import (
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/ipdc/ipdc/internal/pace"
	"github.com/ipdc/ipdc/internal/taskrun"
)

// carriers are what stands between a command and the guest's own streams. For
// a command that writes elsewhere, or is not paced, there are none.
type carriers []*carrier

// carry gives the command pipes in place of the guest's own streams, where its
// output is paced.
func (c *children) carry(call taskrun.Call) (stdout, stderr *os.File, all carriers, err error) {
	stdout, stderr = call.Stdout, os.Stderr
	if c.pace == nil {
		return stdout, stderr, nil, nil
	}
	open := func(to io.Writer) *os.File {
		r, w, e := os.Pipe()
		if e != nil {
			err = e
			return nil
		}
		all = append(all, &carrier{read: r, write: w, to: to, pace: c.pace, over: make(chan struct{})})
		return w
	}
	if call.Stdout == os.Stdout {
		stdout = open(os.Stdout)
	}
	stderr = open(ownStderr{call.Stderr})
	if err != nil {
		all.finish()
	}
	return stdout, stderr, all, err
}

// start copies, from when the command has its ends of the pipes.
func (all carriers) start() {
	for _, c := range all {
		c.start()
	}
}

// finish passes on what is in the pipes, after the end of the command.
func (all carriers) finish() {
	for _, c := range all {
		close(c.over)
	}
	for _, c := range all {
		c.finish()
	}
}

// ownStderr is the guest's stderr, and who keeps the end of what a command says
// there.
type ownStderr struct{ tail *taskrun.Tail }

func (o ownStderr) Write(b []byte) (int, error) {
	if o.tail != nil {
		_, _ = o.tail.Write(b)
	}
	return os.Stderr.Write(b)
}

// carrier passes what a command writes to one stream on, at the task's pace:
// what is too fast stays in the pipe, so that the command waits. What the
// command wrote until it ended is passed on, for which the guest waits as long as
// the engine takes to read it, and for nobody else; a process that was left
// behind writes into nothing.
type carrier struct {
	read, write *os.File // of a pipe; write is the command's
	to          io.Writer
	pace        *pace.Pace
	over        chan struct{} // closed by carriers.finish: the command has ended
	copier      sync.WaitGroup
}

func (c *carrier) start() {
	_ = c.write.Close()
	c.copier.Go(func() {
		buf := make([]byte, 4<<10) // small, so that one that is too fast moves in small steps
		for {
			n, err := c.read.Read(buf)
			c.pass(buf[:n])
			if err != nil {
				return
			}
		}
	})
}

func (c *carrier) pass(b []byte) {
	if len(b) == 0 {
		return
	}
	_, _ = c.to.Write(b) // whose loss the command is not to suffer from
	c.pace.Spend(len(b), pace.Pieces(b), c.over)
}

func (c *carrier) finish() {
	_ = c.write.Close() // of a command that was not started
	_ = c.read.SetReadDeadline(time.Unix(1, 0))
	c.copier.Wait()
	_ = c.read.SetReadDeadline(time.Time{})
	c.drain()
	_ = c.read.Close()
}

// drain reads what is there without waiting, and no more than a pipe holds: a
// process that was left behind may go on writing.
func (c *carrier) drain() {
	raw, err := c.read.SyscallConn()
	if err != nil {
		return
	}
	buf := make([]byte, 16<<10)
	for left := 1 << 20; left > 0; {
		n := 0
		_ = raw.Read(func(fd uintptr) bool {
			for {
				if n, err = syscall.Read(int(fd), buf); !errors.Is(err, syscall.EINTR) {
					return true
				}
			}
		})
		if n <= 0 {
			return
		}
		c.pass(buf[:n])
		left -= n
	}
}
