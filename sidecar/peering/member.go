package peering

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/wire/guest"
)

// Protocol is what members speak: a line of JSON that says what the stream is
// for, one byte as answer, then frames.
const Protocol bus.Protocol = "gang/1"

// maxLine bounds the line, in bytes.
const maxLine = 1 << 10

// hello says what a stream between members is for.
type hello struct {
	Owner identity.ID `json:"owner"`
	Gang  string      `json:"gang"`           // its generation
	From  string      `json:"from,omitempty"` // the task that opens it; "" = the owner does
	To    string      `json:"to"`
}

func (h hello) write(w io.Writer) error {
	b, err := json.Marshal(h)
	if err == nil {
		_, err = w.Write(append(b, '\n'))
	}
	return err
}

func readHello(r io.Reader) (h hello, err error) {
	line, err := bufio.NewReader(io.LimitReader(r, maxLine)).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &h)
	}
	return h, err
}

// admits says whether a member may open such a stream to a task of g: it runs
// the task that it names, as the owner has told, or is the owner.
func (g Gang) admits(h hello, from identity.ID) bool {
	if h.From == "" {
		return from == g.Owner
	}
	return h.From != h.To && g.Nodes[h.From] == from
}

// Serve takes a stream that another member opened, for a bus.Streams. Strangers
// learn nothing from it, not even whether there is such a task.
func (x *Exchange) Serve(ctx context.Context, bs bus.Stream) {
	_ = bs.SetDeadline(time.Now().Add(x.cfg.Patience))
	if err := x.serve(ctx, bs); err != nil {
		x.log.Debug("stream of a member is refused", "member", bs.Peer().Short(), "err", err)
		_ = bs.Reset()
	}
}

// asked is the port that a member may open a stream to; nil = none.
func (x *Exchange) asked(h hello, from identity.ID) *Port {
	x.mu.Lock()
	defer x.mu.Unlock()
	if p := x.ports[place{h.Owner, h.Gang, h.To}]; p != nil && x.admits(p.gang, h, from) {
		return p
	}
	return nil
}

func (x *Exchange) serve(ctx context.Context, bs bus.Stream) error {
	h, err := readHello(bs)
	if err != nil {
		return err
	}
	p := x.asked(h, bs.Peer())
	if p == nil {
		return fmt.Errorf("%w: from task %.80q to %.80q of gang %.40q", errRefused, h.From, h.To, h.Gang)
	}
	if !p.enter() {
		return ErrNotThere
	}
	defer p.work.Done()
	ready, cancel := context.WithTimeout(ctx, x.cfg.Patience)
	defer cancel()
	there := newStream(bs)
	s, err := p.take(ready)
	if err == nil {
		if err = s.hear(ready); err != nil {
			s.Abort()
		}
	}
	if err != nil {
		there.refuse(err)
		return nil
	}
	if err := there.answer(guest.Joined); err != nil {
		s.Abort()
		return errors.Join(err, bs.Reset())
	}
	_ = join(there, s) // who said too little sees it in its frames
	return nil
}
