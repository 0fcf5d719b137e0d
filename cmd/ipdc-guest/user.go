package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/ipdc/ipdc/internal/shuffle"
	"github.com/ipdc/ipdc/internal/taskrun"
	"github.com/ipdc/ipdc/wire/guest"
)

// endError says that the user's command ended badly.
type endError struct {
	taskrun.Exit
	what string // "mapper", "reducer", "combiner"
	item string // the file that it had; "" = all
}

func (e *endError) Error() string {
	how := fmt.Sprintf("exit code %d", e.Code)
	if e.Signal != 0 {
		how = fmt.Sprintf("signal %d (%v)", e.Signal, syscall.Signal(e.Signal))
	}
	if e.item != "" {
		return fmt.Sprintf("the %s ended with %s at %s", e.what, how, e.item)
	}
	return fmt.Sprintf("the %s ended with %s", e.what, how)
}

// call is one run of a command of the user's.
type call struct {
	what    string
	command []string
	item    string                // of EnvItem
	stdin   *os.File              // what it reads; nil = nothing
	feed    func(io.Writer) error // in place of stdin: writes what it reads; a writeError is none
	stdout  *os.File              // where it writes
	drain   func(io.Reader) error // in place of stdout: reads what it writes
}

// pipeSize is asked for: the more fits in, the less often two processes wait
// for each other. The kernel gives less where it has reasons.
const pipeSize = 1 << 20

// largePipe returns a large pipe. Its ends stay with Go's poller, so that Close
// ends what waits for it.
func largePipe() (r, w *os.File, err error) {
	if r, w, err = os.Pipe(); err != nil {
		return nil, nil, fmt.Errorf("make a pipe: %w", err)
	}
	if conn, err := w.SyscallConn(); err == nil {
		_ = conn.Control(func(fd uintptr) {
			_, _, _ = syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_SETPIPE_SZ, pipeSize)
		})
	}
	return r, w, nil
}

// beside is what goes on while a command runs.
type beside struct {
	group    sync.WaitGroup
	theirs   []*os.File // ends of the command's
	in, out  *os.File   // our ends; nil = the command has a file there
	fed      error
	drained  error
	over     chan struct{} // closed when the command has ended
	finished chan struct{} // closed when all was drained
	early    atomic.Bool   // something went wrong before the command ended
}

// do runs the command to its end, with what feeds and drains it beside it.
// Processes that it leaves behind are killed, and hold nothing.
func (s *stage) do(program *children, c call) error {
	b := &beside{over: make(chan struct{}), finished: make(chan struct{})}
	defer b.close()
	stdin, stdout := c.stdin, c.stdout
	var err error
	if c.feed != nil {
		if stdin, b.in, err = largePipe(); err != nil {
			return err
		}
		b.theirs = append(b.theirs, stdin)
	}
	if c.drain != nil {
		if b.out, stdout, err = largePipe(); err != nil {
			return err
		}
		b.theirs = append(b.theirs, stdout)
	}
	if err := s.markUnfinished(); err != nil {
		return err
	}
	b.start(program, c)
	began := time.Now()
	end, err := program.Run(taskrun.Call{Command: c.command, Env: s.environ(c), Stdin: stdin, Stdout: stdout})
	s.add(s.name+".ms_"+c.what, time.Since(began).Milliseconds())
	b.end()
	switch {
	case err != nil:
		return err
	case b.early.Load():
		return cmp.Or(b.drained, b.fed)
	case end.Code != 0:
		return &endError{Exit: end, what: c.what, item: c.item}
	case errors.Is(b.drained, io.ErrUnexpectedEOF):
		b.drained = cmp.Or(s.unfinished(c), b.drained)
	}
	return cmp.Or(b.drained, b.fed, s.unfinished(c))
}

// unfinishedMark is the file that a program that speaks frames removes when it
// has read and written all: exit code 0 alone may be user code's os._exit, with
// records left in buffers.
func (s *stage) unfinishedMark() string { return filepath.Join(s.spillDir(), "unfinished") }

func (s *stage) markUnfinished() error {
	if s.kind != shuffle.Frames {
		return nil
	}
	err := os.MkdirAll(s.spillDir(), 0o700)
	if err == nil {
		err = os.WriteFile(s.unfinishedMark(), nil, 0o600)
	}
	if err != nil {
		return fmt.Errorf("mark the beginning of a program: %w", err)
	}
	return nil
}

func (s *stage) unfinished(c call) error {
	if s.kind != shuffle.Frames {
		return nil
	}
	if _, err := os.Lstat(s.unfinishedMark()); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("the %s ended with exit code 0 before its output was whole (does the code call os._exit?)", c.what)
}

// start starts what feeds and drains. Where one of them fails the command is
// killed: its output would be for nothing.
func (b *beside) start(program *children, c call) {
	failed := func() {
		select {
		case <-b.over:
		default:
			b.early.Store(true)
			program.kill()
		}
	}
	if b.in != nil {
		b.group.Go(func() {
			var we *writeError
			if err := c.feed(b.in); err != nil && !errors.As(err, &we) {
				b.fed = err
				failed()
			}
			_ = b.in.Close() // twice is no harm
		})
	}
	if b.out == nil {
		close(b.finished)
		return
	}
	b.group.Go(func() {
		defer close(b.finished)
		// What ends early may have a reason, which its exit code tells.
		if b.drained = c.drain(untilDeadline{b.out}); b.drained != nil && !errors.Is(b.drained, io.ErrUnexpectedEOF) {
			failed()
		}
	})
}

// end ends what feeds and drains, after all was read that the command wrote.
func (b *beside) end() {
	close(b.over)
	for _, f := range b.theirs {
		_ = f.Close()
	}
	b.theirs = nil
	if b.in != nil {
		_ = b.in.Close()
	}
	b.settle()
	b.group.Wait()
}

// settle waits until the pipe is empty: a process that got away may hold its
// other end, so that the end of the file never comes.
func (b *beside) settle() {
	for b.out != nil {
		select {
		case <-b.finished:
			return
		case <-time.After(time.Millisecond):
		}
		if unread(b.out) == 0 {
			_ = b.out.SetReadDeadline(time.Now())
			return
		}
	}
}

// close closes all ends.
func (b *beside) close() {
	for _, f := range append(b.theirs, b.in, b.out) {
		if f != nil {
			_ = f.Close()
		}
	}
}

// unread returns how many bytes stand in a pipe.
func unread(r *os.File) (n int32) {
	conn, err := r.SyscallConn()
	if err != nil {
		return 0
	}
	_ = conn.Control(func(fd uintptr) {
		_, _, _ = syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCINQ, uintptr(unsafe.Pointer(&n)))
	})
	return n
}

// untilDeadline ends at the file's deadline as at the end of the file.
type untilDeadline struct{ f *os.File }

func (r untilDeadline) Read(b []byte) (int, error) {
	n, err := r.f.Read(b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = io.EOF
	}
	return n, err
}

// environ is the environment of a command of the user's: the guest that runs
// us has set it. What keeps Python's output in a log up to date is left out, as
// here each line would be a system call.
func (s *stage) environ(c call) []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "PYTHONUNBUFFERED=") })
	if c.item != "" {
		env = append(env, guest.EnvItem+"="+c.item)
	}
	if s.kind == shuffle.Frames {
		env = append(env, guest.EnvUnfinished+"="+s.unfinishedMark())
	}
	return env
}
