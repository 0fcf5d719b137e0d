package car

import (
	"io"

	"github.com/ipdc/ipdc/ipfs/internal/dag"
	"github.com/ipdc/ipdc/jobspec"
)

// sectionCost is what a block costs a [Window] beside its bytes.
const sectionCost = 256

// Window gives the blocks of a stream to a walk that goes about the same way:
// it keeps what it reads on the way to a block until that is asked for too. It
// is used by one goroutine.
type Window struct {
	r    io.Reader
	in   *reader // nil until the first Take
	held map[jobspec.CID][]byte
	free int64
	over bool // the stream has ended, well or not
}

// NewWindow returns a Window that keeps about max bytes at most: so far it
// reads ahead of what is asked for.
func NewWindow(r io.Reader, max int64) *Window {
	return &Window{r: r, held: map[jobspec.CID][]byte{}, free: max}
}

// Take returns a block, verified, once. It returns false when the block is not
// among the next ones of the stream, or when that has ended or is damaged: it
// is to be had elsewhere then, as are identity CIDs always.
func (w *Window) Take(c jobspec.CID) ([]byte, bool) {
	if _, ok := dag.Identity(c); ok {
		return nil, false
	}
	data, ok := w.held[c]
	if ok {
		delete(w.held, c)
		w.free += cost(data)
	} else if data, ok = w.find(c); !ok {
		return nil, false
	}
	return data, dag.Verify(c, data) == nil
}

// find reads on until c. What comes twice is paid for twice, so that no stream
// is read for ever.
func (w *Window) find(want jobspec.CID) ([]byte, bool) {
	for w.free > 0 && !w.over {
		c, data, err := w.next()
		if err != nil {
			w.over = true
			break
		}
		if c == want {
			return data, true
		}
		w.held[c] = data
		w.free -= cost(data)
	}
	return nil, false
}

func (w *Window) next() (c jobspec.CID, _ []byte, err error) {
	if w.in == nil {
		if w.in, err = newReader(w.r); err != nil {
			return c, nil, err
		}
	}
	return w.in.next()
}

func cost(data []byte) int64 { return int64(len(data)) + sectionCost }
