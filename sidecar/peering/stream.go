package peering

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// Conn is a connection of which each side can be ended.
type Conn interface {
	io.ReadWriteCloser
	CloseWrite() error
	SetDeadline(time.Time) error
}

// Stream is an open stream to a task: frames, both ways. Whoever opened it ends
// it by Relay, Close or Abort.
type Stream struct {
	conn    Conn
	in, out *atomic.Int64 // of the task at its end, where that is here: bytes it gets and gives
	once    sync.Once
	gone    chan struct{} // closed by the first Close or Abort
	release func()        // gives back its place among the task's; nil = none
}

// NewStream returns a stream that another node has opened for this one, by a
// connection on which frames are spoken.
func NewStream(c Conn) *Stream { return newStream(c) }

// newStream returns a stream that counts into nothing.
func newStream(c Conn) *Stream {
	return &Stream{conn: c, in: new(atomic.Int64), out: new(atomic.Int64), gone: make(chan struct{})}
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
		close(s.gone)
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

// chunk is how much of a stream is copied at once, in bytes. Each stream holds
// two for as long as it is open, also when nothing is said.
const chunk = 16 << 10

var chunks = sync.Pool{New: func() any { return new([chunk]byte) }}

// join copies frames both ways until both sides have ended, or one fails. It
// closes both.
func join(a, b *Stream) error {
	var both sync.WaitGroup
	errs := make([]error, 2)
	for i, way := range [][2]*Stream{{a, b}, {b, a}} {
		both.Go(func() {
			if errs[i] = relay(way[0], way[1]); errs[i] != nil {
				a.Abort()
				b.Abort()
			}
		})
	}
	said := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() { // a way that has ended sees nothing of it
		select {
		case <-a.gone:
			b.Abort()
		case <-b.gone:
			a.Abort()
		case <-said:
		}
	})
	both.Wait()
	close(said)
	watch.Wait()
	return errors.Join(errs[0], errs[1], a.Close(), b.Close())
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
			return to.conn.CloseWrite()
		}
		if err != nil {
			return err
		}
	}
}

// Relay joins the stream with a connection on which frames are spoken, too, and
// returns when both have ended. It closes both.
func (s *Stream) Relay(c Conn) error {
	return join(s, newStream(c))
}
