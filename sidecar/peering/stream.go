package peering

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipdc/ipdc/wire/guest"
)

// conn is a connection of which each side can be ended.
type conn interface {
	io.ReadWriteCloser
	CloseWrite() error
	SetDeadline(time.Time) error
}

// Stream is an open stream to a task: frames, both ways. Whoever opened it ends
// it by Join, Carry or Abort.
type Stream struct {
	conn
	in, out *atomic.Int64 // of the task at its end, where that is here: bytes it gets and gives
	once    sync.Once
	release func() // gives back its place among the task's; nil = none
}

// Abort ends the stream so that nobody takes it for whole: there was no end
// among its frames. After the first Abort or Close both do nothing.
func (s *Stream) Abort() { s.end(true) }

// Close ends a stream on which all was said.
func (s *Stream) Close() error {
	s.end(false)
	return nil
}

func (s *Stream) end(reset bool) {
	s.once.Do(func() {
		if r, ok := s.conn.(interface{ Reset() error }); ok && reset {
			_ = r.Reset()
		}
		_ = s.conn.Close()
		if s.release != nil {
			s.release()
		}
	})
}

// Read takes what the task says.
func (s *Stream) Read(b []byte) (int, error) {
	n, err := s.conn.Read(b)
	s.out.Add(int64(n))
	return n, err
}

// Write says something to the task.
func (s *Stream) Write(b []byte) (int, error) {
	n, err := s.conn.Write(b)
	s.in.Add(int64(n))
	return n, err
}

// chunk is how much of a stream is copied at once, in bytes: a full frame.
const chunk = 64<<10 + 64

var chunks = sync.Pool{New: func() any { return new([chunk]byte) }}

// join copies frames both ways until both sides have ended, or one fails.
func join(a, b *Stream) error {
	return both(a, b, func() error { return relay(b, a) }, func() error { return relay(a, b) })
}

// relay copies one direction as it is. Its end is passed on; that it was whole
// only the frames say.
func relay(to, from *Stream) error {
	buf := chunks.Get().(*[chunk]byte)
	defer chunks.Put(buf)
	for {
		n, err := from.Read(buf[:])
		if n > 0 {
			if _, werr := to.Write(buf[:n]); werr != nil {
				return werr
			}
		}
		if errors.Is(err, io.EOF) {
			return to.CloseWrite()
		}
		if err != nil {
			return err
		}
	}
}

// Carry joins the stream with a connection of somebody who knows no frames, and
// returns when both have ended. raw has CloseWrite, or is closed in its place.
// It closes both.
func (s *Stream) Carry(raw io.ReadWriteCloser) error {
	return both(s, rawConn{raw}, func() error {
		if err := guest.ReceiveFrames(raw, s); err != nil {
			return err
		}
		return closeWrite(raw)
	}, func() error {
		if err := guest.SendFrames(s, raw); err != nil {
			return err
		}
		return s.CloseWrite()
	})
}

// rawConn is a connection without frames.
type rawConn struct{ io.ReadWriteCloser }

// Abort closes it so that the other side sees no end.
func (c rawConn) Abort() {
	if t, ok := c.ReadWriteCloser.(interface{ SetLinger(int) error }); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}

type abortable interface {
	io.Closer
	Abort()
}

// both does the two directions of a and b and closes them, at once when one
// direction fails.
func both(a, b abortable, there, back func() error) error {
	var wg sync.WaitGroup
	errs := make([]error, 2)
	for i, direction := range []func() error{there, back} {
		wg.Go(func() {
			if errs[i] = direction(); errs[i] != nil {
				a.Abort()
				b.Abort()
			}
		})
	}
	wg.Wait()
	_, _ = a.Close(), b.Close()
	return errors.Join(errs...)
}

func closeWrite(c io.Closer) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}
