package shuffle

import (
	"io"
	"sync"
)

// pump writes buffers while the next ones are filled.
type pump struct {
	buf []byte // to be filled

	full    chan []byte // closed by finish
	empty   chan []byte // never closed
	failed  chan error  // holds the first error of a write
	writing sync.WaitGroup
}

func newPump(w io.Writer) *pump {
	p := &pump{full: make(chan []byte, 1), empty: make(chan []byte, 3), failed: make(chan error, 1)}
	for range 2 {
		p.empty <- nil
	}
	p.writing.Go(func() {
		var failed bool
		for b := range p.full {
			if !failed {
				if _, err := w.Write(b); err != nil {
					failed = true
					p.failed <- err
				}
			}
			p.empty <- b[:0]
		}
	})
	return p
}

// flush hands the buffer over and takes an empty one.
func (p *pump) flush() error {
	select {
	case err := <-p.failed:
		p.failed <- err
		return err
	case p.full <- p.buf:
		p.buf = <-p.empty
		return nil
	}
}

// finish writes what is left unless err is set, waits, and returns the first
// error.
func (p *pump) finish(err error) error {
	if err == nil && len(p.buf) > 0 {
		err = p.flush()
	}
	close(p.full)
	p.writing.Wait()
	select {
	case werr := <-p.failed:
		if err == nil {
			err = werr
		}
	default:
	}
	return err
}
