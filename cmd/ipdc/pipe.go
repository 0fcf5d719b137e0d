package main

import (
	"io"
	"sync"
)

// pipeBytes is what waits in a pipe before its writer has to.
const pipeBytes = 1 << 20

// pipe is an io.Pipe with a buffer: its two ends run at the same time, and its
// reader gets what many small writes left in one piece. Each end is used by one
// goroutine.
type pipe struct {
	mu      sync.Mutex
	changed *sync.Cond
	filling []byte
	taken   []byte // what the reader has, until it takes more
	rest    []byte // of taken, for Read
	end     error  // of the writer; nil = there may be more
	closed  error  // of the reader; nil = it reads on
}

func newPipe() *pipe {
	p := &pipe{}
	p.changed = sync.NewCond(&p.mu)
	return p
}

// Write implements io.Writer.
func (p *pipe) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.filling) >= pipeBytes && p.closed == nil {
		p.changed.Wait()
	}
	if p.closed != nil {
		return 0, p.closed
	}
	p.filling = append(p.filling, b...)
	p.changed.Signal()
	return len(b), nil
}

// finish ends the stream for the reader, with err or with io.EOF.
func (p *pipe) finish(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.end = err; err == nil {
		p.end = io.EOF
	}
	p.changed.Signal()
}

// take returns all that was written since, until the next call.
func (p *pipe) take() ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.filling) == 0 && p.end == nil && p.closed == nil {
		p.changed.Wait()
	}
	if p.closed != nil {
		return nil, p.closed
	}
	if len(p.filling) == 0 {
		return nil, p.end
	}
	p.filling, p.taken = p.taken[:0], p.filling
	p.changed.Signal()
	return p.taken, nil
}

// Read implements io.Reader.
func (p *pipe) Read(b []byte) (n int, err error) {
	if len(p.rest) == 0 {
		if p.rest, err = p.take(); err != nil {
			return 0, err
		}
	}
	n = copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

// WriteTo implements io.WriterTo, by which net/http sends large pieces.
func (p *pipe) WriteTo(w io.Writer) (n int64, err error) {
	b := p.rest
	p.rest = nil
	for err == nil {
		var k int
		k, err = w.Write(b)
		if n += int64(k); err == nil {
			b, err = p.take()
		}
	}
	if err == io.EOF {
		err = nil
	}
	return n, err
}

// Close makes the writer fail with io.ErrClosedPipe. Calling it twice is safe.
func (p *pipe) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = io.ErrClosedPipe
	p.changed.Signal()
	return nil
}
