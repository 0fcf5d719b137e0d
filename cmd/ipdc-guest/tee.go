package main

import (
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/ipdc/ipdc/internal/taskrun"
)

// tee passes what a command writes to its stderr on to the guest's, and to who
// keeps the end of it. It waits for nobody: what the command wrote until it
// ended is passed on, and a process that it left behind writes into nothing.
type tee struct {
	read, write *os.File // of a pipe; write is the command's
	tail        *taskrun.Tail
	copier      sync.WaitGroup
}

func openTee(tail *taskrun.Tail) (*tee, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	return &tee{read: r, write: w, tail: tail}, nil
}

// start copies, from when the command has its end of the pipe.
func (t *tee) start() {
	_ = t.write.Close()
	t.copier.Go(func() {
		buf := make([]byte, 16<<10)
		for {
			n, err := t.read.Read(buf)
			t.pass(buf[:n])
			if err != nil {
				return
			}
		}
	})
}

func (t *tee) pass(b []byte) {
	_, _ = os.Stderr.Write(b) // whose loss the command is not to suffer from
	_, _ = t.tail.Write(b)
}

// finish passes on what is in the pipe, after the end of the command.
func (t *tee) finish() {
	_ = t.write.Close() // of a command that was not started
	_ = t.read.SetReadDeadline(time.Unix(1, 0))
	t.copier.Wait()
	_ = t.read.SetReadDeadline(time.Time{})
	t.drain()
	_ = t.read.Close()
}

// drain reads what is there without waiting, and no more than a pipe holds: a
// process that was left behind may go on writing.
func (t *tee) drain() {
	raw, err := t.read.SyscallConn()
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
		t.pass(buf[:n])
		left -= n
	}
}
