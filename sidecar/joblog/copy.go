package joblog

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ipdc/ipdc/jobspec"
)

// Read calls yield for each piece of the log at path behind the first from
// bytes of its output. A log that does not exist is empty. With follow it stays
// until the log is closed; one that nobody in this process writes ends at its
// end. Read returns the context's cause when ctx ends. end is how many bytes of output
// there are up to the piece's end: from for a reader that was cut after it.
// data is valid during the call.
func Read(ctx context.Context, path string, from int64, follow bool, yield func(end int64, h jobspec.LogHeader, data []byte) error) error {
	path, err := filepath.Abs(path)
	if err == nil {
		err = read(ctx, path, from, follow, yield)
	}
	if err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	return nil
}

// Live reports whether this process is writing the log at path, so that a
// follower of it will get all that is to come.
func Live(path string) bool {
	path, err := filepath.Abs(path)
	writers.Lock()
	defer writers.Unlock()
	return err == nil && writers.open[path] != nil
}

func read(ctx context.Context, path string, from int64, follow bool, yield func(int64, jobspec.LogHeader, []byte) error) error {
	writers.Lock()
	live := writers.open[path]
	writers.Unlock()
	c := &cursor{yield: yield, from: from}
	defer c.close()
	for {
		var wake <-chan struct{}
		var files []segment
		var err error
		if live != nil {
			wake, files = live.sync()
		} else if files, err = onDisk(path); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			err = c.drain(ctx, files)
		}
		if err != nil || wake == nil || !follow {
			return err
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// cursor is a reader's place in a log.
type cursor struct {
	yield  func(end int64, h jobspec.LogHeader, data []byte) error
	from   int64 // of the whole output, what is before it is left out
	file   *os.File
	start  int64 // of file in the whole output
	offset int64 // in file, at the beginning of a frame
	pos    int64 // in the whole output
	task   uint32
	buf    []byte // of one frame read
}

func (c *cursor) close() {
	if c.file != nil {
		c.file.Close()
	}
}

// drain copies all that the files hold behind the cursor. A file that was
// removed meanwhile shows as a gap before the next one.
func (c *cursor) drain(ctx context.Context, files []segment) error {
	for _, s := range files {
		if c.file != nil && s.start < c.start {
			continue
		}
		if c.file == nil || s.start > c.start {
			// What came after the last look is in the file we leave.
			if err := c.frames(ctx); err != nil {
				return err
			}
			if err := c.open(s); errors.Is(err, fs.ErrNotExist) {
				continue
			} else if err != nil {
				return err
			}
		}
		if err := c.frames(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (c *cursor) open(s segment) error {
	f, err := os.Open(s.path)
	if err != nil {
		return err
	}
	c.close()
	c.file, c.start, c.offset = f, s.start, 0
	if s.start <= c.pos {
		return nil
	}
	missed := s.start - max(c.pos, c.from)
	c.pos = s.start
	if missed <= 0 {
		return nil
	}
	gap := fmt.Appendf(nil, "\n... %d bytes left out ...\n", missed)
	return c.emit(jobspec.LogHeader{Stream: jobspec.LogStderr, Task: c.task}, gap)
}

// frames copies the whole frames behind the cursor. It stops before one that
// is not all there yet, and before damage.
func (c *cursor) frames(ctx context.Context) error {
	if c.file == nil {
		return nil
	}
	r := bufio.NewReaderSize(io.NewSectionReader(c.file, c.offset, 1<<62), jobspec.MaxLogChunk)
	for ctx.Err() == nil {
		h, err := jobspec.ReadLogHeader(r)
		if err != nil {
			return readError(err)
		}
		if cap(c.buf) < int(h.Len) {
			c.buf = make([]byte, jobspec.MaxLogChunk)
		}
		data := c.buf[:h.Len]
		if _, err := io.ReadFull(r, data); err != nil {
			return readError(err)
		}
		c.task = h.Task
		c.offset += jobspec.LogHeaderSize + int64(h.Len)
		c.pos += int64(h.Len)
		if c.pos <= c.from {
			continue
		}
		if err := c.emit(h, data[max(0, int64(h.Len)-(c.pos-c.from)):]); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// readError keeps the errors of the disk only: an incomplete or damaged frame
// ends a file, and the next one tells the gap.
func readError(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return err
	}
	return nil
}

func (c *cursor) emit(h jobspec.LogHeader, data []byte) error {
	h.Len = uint32(len(data))
	if err := c.yield(c.pos, h, data); err != nil {
		return fmt.Errorf("write frame: %w", err)
	}
	return nil
}
