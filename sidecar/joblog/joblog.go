// Package joblog keeps the output of an attempt's program on disk, bounded,
// while others read it.
//
//	log, err := joblog.Create(path, task, 10<<20) // an executor.LogSink
//	err = executor.Logs(ctx, id, log)
//	kept, dropped, err := log.Close()
//	err = joblog.Read(ctx, path, 0, true, yield)
//
// The first half of the bound is kept from the beginning of the output, in the
// file path. The rest goes to segments, path.OFFSET, of which the oldest is
// removed for the newest; OFFSET is where the segment begins in the whole
// output, so that a reader sees how much was left out before it.
//
// Invariants: the files of a log take no more bytes than its bound; memory is
// bounded, whatever the output; what readers get is in order, and each gap in
// it is marked by a frame that says how many bytes were left out.
package joblog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/jobspec"
)

// Shares of the bound: the head takes half, and each of the segments an
// eighth.
const (
	headShare    = 2
	segmentShare = 8
	maxSegments  = 4
)

// MinLimit is the smallest bound of a log in bytes.
const MinLimit = 1 << 10

var _ executor.LogSink = (*Writer)(nil)

// Writer writes one log. Its methods are safe for concurrent use.
type Writer struct {
	path  string
	task  uint32
	limit int64

	mu       sync.Mutex
	file     *os.File
	room     int64     // bytes that still fit in file
	segments []segment // the head first
	pending  []byte    // output that is not in a file yet
	frame    []byte    // scratch for flush
	stream   jobspec.LogStream
	written  int64 // output bytes so far, pending ones left out
	dropped  int64 // output bytes that were removed
	err      error // of the first failed write; nothing is written after it
	closed   bool
	wake     chan struct{} // closed by the next write; nil while nobody waits
}

// segment is a file of a log.
type segment struct {
	path  string
	start int64 // of its first byte in the whole output
}

// writers holds the open logs of this process by path, so that a reader can
// wait for more.
var writers struct {
	sync.Mutex
	open map[string]*Writer
}

// Create begins the log of a task in the file path, of mode 0600 in a
// directory that must exist. What an earlier log of that path holds is
// replaced; its readers keep it. limit, at least [MinLimit], bounds the bytes
// on disk, frame headers included.
func Create(path string, task uint32, limit int64) (*Writer, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("create log: %w", err)
	}
	old, err := onDisk(path)
	if err != nil {
		return nil, fmt.Errorf("create log: %w", err)
	}
	for _, s := range old {
		if err := os.Remove(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("create log: %w", err)
		}
	}
	w := &Writer{path: path, task: task, limit: max(limit, MinLimit)}
	if err := w.begin(segment{path: path}, w.limit/headShare); err != nil {
		return nil, fmt.Errorf("create log: %w", err)
	}
	writers.Lock()
	defer writers.Unlock()
	if writers.open == nil {
		writers.open = map[string]*Writer{}
	}
	writers.open[path] = w
	return w, nil
}

// begin goes on in another file.
func (w *Writer) begin(s segment, room int64) error {
	f, err := os.OpenFile(s.path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	w.file, w.room = f, room
	w.segments = append(w.segments, s)
	return nil
}

// Stdout returns the writer for the program's standard output.
func (w *Writer) Stdout() io.Writer { return streamWriter{w, jobspec.LogStdout} }

// Stderr returns the writer for the program's standard error.
func (w *Writer) Stderr() io.Writer { return streamWriter{w, jobspec.LogStderr} }

type streamWriter struct {
	w      *Writer
	stream jobspec.LogStream
}

// Write adds p to the log. It becomes one frame with what the stream wrote
// before it, where nothing else came between.
func (s streamWriter) Write(p []byte) (int, error) {
	w := s.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return 0, fmt.Errorf("write log %s: %w", filepath.Base(w.path), os.ErrClosed)
	}
	if s.stream != w.stream {
		w.flush()
		w.stream = s.stream
	}
	for rest := p; len(rest) > 0; {
		n := min(len(rest), jobspec.MaxLogChunk-len(w.pending))
		w.pending = append(w.pending, rest[:n]...)
		rest = rest[n:]
		if len(w.pending) == jobspec.MaxLogChunk {
			w.flush()
		}
	}
	w.notify()
	if w.err != nil {
		return 0, w.err
	}
	return len(p), nil
}

func (w *Writer) notify() {
	if w.wake != nil {
		close(w.wake)
		w.wake = nil
	}
}

// flush writes what is pending to files, as frames that fit.
func (w *Writer) flush() {
	for rest := w.pending; len(rest) > 0 && w.err == nil; {
		if w.room <= jobspec.LogHeaderSize {
			w.err = w.rotate()
			continue
		}
		n := min(int64(len(rest)), w.room-jobspec.LogHeaderSize)
		h := jobspec.LogHeader{Stream: w.stream, Task: w.task, Len: uint32(n)}
		w.frame = append(h.Append(w.frame[:0]), rest[:n]...)
		if _, err := w.file.Write(w.frame); err != nil {
			w.err = fmt.Errorf("write log: %w", err)
			break
		}
		w.room -= int64(len(w.frame))
		w.written += n
		rest = rest[n:]
	}
	w.pending = w.pending[:0]
}

// rotate goes on in a new segment and removes the oldest one over the bound.
func (w *Writer) rotate() error {
	err := w.file.Close()
	s := segment{path: fmt.Sprintf("%s.%020d", w.path, w.written), start: w.written}
	if err = errors.Join(err, w.begin(s, w.limit/segmentShare)); err != nil {
		return fmt.Errorf("write log: %w", err)
	}
	if len(w.segments) <= 1+maxSegments {
		return nil
	}
	w.dropped += w.segments[2].start - w.segments[1].start
	oldest := w.segments[1].path
	w.segments = slices.Delete(w.segments, 1, 2)
	if err := os.Remove(oldest); err != nil {
		return fmt.Errorf("write log: %w", err)
	}
	return nil
}

// sync makes all output readable. It returns a channel that is closed by the
// next write or by Close, or nil when the log is closed, and the files.
func (w *Writer) sync() (wake <-chan struct{}, files []segment) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.flush()
		if w.wake == nil {
			w.wake = make(chan struct{})
		}
		wake = w.wake
	}
	return wake, slices.Clone(w.segments)
}

// Close ends the log and its followers. It returns how many bytes of output
// are kept and how many were dropped to stay in the bound. Closing it twice is
// safe.
func (w *Writer) Close() (kept, dropped int64, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.flush()
		w.closed = true
		w.pending, w.frame = nil, nil
		w.notify()
		if err := w.file.Close(); w.err == nil && err != nil {
			w.err = fmt.Errorf("close log: %w", err)
		}
		writers.Lock()
		defer writers.Unlock()
		if writers.open[w.path] == w {
			delete(writers.open, w.path)
		}
	}
	return w.written - w.dropped, w.dropped, w.err
}

// onDisk returns the files of the log at path in order.
func onDisk(path string) (files []segment, err error) {
	if _, err := os.Lstat(path); err == nil {
		files = append(files, segment{path: path})
	}
	entries, err := os.ReadDir(filepath.Dir(path)) // by name, so by offset
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		offset, ok := strings.CutPrefix(e.Name(), filepath.Base(path)+".")
		start, err := strconv.ParseInt(offset, 10, 64)
		if ok && err == nil && len(offset) == 20 {
			files = append(files, segment{path: filepath.Join(filepath.Dir(path), e.Name()), start: start})
		}
	}
	return files, nil
}
