package wasm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"github.com/ipdc/ipdc/internal/pace"
	"github.com/ipdc/ipdc/jobspec"
)

// A log is a row of files of frames: one byte for the stream, four for the
// length, and the text. The oldest file goes when there are more than
// logFiles, so that the log never takes more than its size.
const (
	logFiles  = 4
	maxFrame  = 8 << 10
	frameHead = 5
)

// The streams of a frame.
const (
	stdout = byte(1)
	stderr = byte(2)
)

func logFile(dir string, n int) string { return filepath.Join(dir, logDir, strconv.Itoa(n)) }

// logWriter writes a container's log. Its streams may be written to at the
// same time.
type logWriter struct {
	dir  string
	size int64 // of one file
	pace *pace.Pace

	mu   sync.Mutex
	n    int // of the file that is written to
	file *os.File
	used int64
	err  error // the first one; the program goes on without a log
}

func newLogWriter(dir string, size jobspec.Bytes, cpu jobspec.CPU) *logWriter {
	l := &logWriter{dir: dir, size: int64(size) / logFiles, pace: pace.New()}
	l.pace.Share(int64(cpu))
	return l
}

// copy writes what comes from r until its end, at the task's pace: what is too
// fast stays in the pipe, so that the module waits. over is closed when the
// module has ended.
func (l *logWriter) copy(stream byte, r io.Reader, over <-chan struct{}) {
	buf := make([]byte, frameHead+maxFrame)
	for {
		n, err := r.Read(buf[frameHead:])
		if n > 0 {
			buf[0] = stream
			binary.BigEndian.PutUint32(buf[1:], uint32(n))
			l.add(buf[:frameHead+n])
			l.pace.Spend(n, 1, over)
		}
		if err != nil {
			return
		}
	}
}

func (l *logWriter) add(frame []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return
	}
	if l.file == nil || l.used+int64(len(frame)) > l.size {
		if l.err = l.next(); l.err != nil {
			return
		}
	}
	_, l.err = l.file.Write(frame)
	l.used += int64(len(frame))
}

// next begins a file and removes the one that is too old. The new one is there
// before the old one goes, so that a reader always finds a way on.
func (l *logWriter) next() error {
	l.n++
	f, err := os.OpenFile(logFile(l.dir, l.n), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if l.file != nil {
		l.file.Close()
	}
	l.file, l.used = f, 0
	if old := l.n - logFiles; old > 0 {
		return os.Remove(logFile(l.dir, old))
	}
	return nil
}

func (l *logWriter) close() error {
	if l.file == nil {
		return l.err
	}
	return errors.Join(l.err, l.file.Close())
}

// logReader reads a log while it is written.
type logReader struct {
	dir  string
	n    int      // of the file that is read
	file *os.File // nil = none yet
	at   int64
	buf  []byte
}

// drain passes on all whole frames that are there.
func (r *logReader) drain(write func(stream byte, text []byte) error) error {
	for {
		frame, err := r.frame()
		if err != nil {
			return err
		}
		if frame != nil {
			if err := write(frame[0], frame[frameHead:]); err != nil {
				return err
			}
			continue
		}
		more, err := r.next()
		if err != nil || !more {
			return err
		}
	}
}

// frame returns the next frame of the present file, or nil.
func (r *logReader) frame() ([]byte, error) {
	if r.file == nil {
		return nil, nil
	}
	if r.buf == nil {
		r.buf = make([]byte, frameHead+maxFrame)
	}
	n, err := r.file.ReadAt(r.buf, r.at)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if n < frameHead {
		return nil, nil
	}
	size := frameHead + int(binary.BigEndian.Uint32(r.buf[1:]))
	if size > len(r.buf) {
		return nil, fmt.Errorf("log file %d has a frame of %d bytes", r.n, size)
	}
	if n < size {
		return nil, nil
	}
	r.at += int64(size)
	return r.buf[:size], nil
}

// next goes to the file after the present one, or to the oldest when that is
// gone. A file that has a successor is complete; what was written to it since
// it was read last is taken first.
func (r *logReader) next() (bool, error) {
	later, err := r.later()
	if err != nil || len(later) == 0 {
		return false, err
	}
	if r.file != nil {
		if info, err := r.file.Stat(); err == nil && info.Size() > r.at {
			return true, nil
		}
	}
	for _, n := range later {
		f, err := os.Open(logFile(r.dir, n))
		if errors.Is(err, os.ErrNotExist) {
			continue // removed since
		}
		if err != nil {
			return false, err
		}
		r.close()
		r.file, r.n, r.at = f, n, 0
		return true, nil
	}
	return false, nil
}

// later returns the numbers of the files after the present one, in order.
func (r *logReader) later() (list []int, err error) {
	entries, err := os.ReadDir(filepath.Join(r.dir, logDir))
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil && n > r.n {
			list = append(list, n)
		}
	}
	slices.Sort(list)
	return list, err
}

func (r *logReader) close() {
	if r.file != nil {
		r.file.Close()
	}
	r.file = nil
}
