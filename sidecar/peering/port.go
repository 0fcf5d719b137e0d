package peering

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipdc/ipdc/internal/mountsock"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire/guest"
)

// What a container may have open besides its streams. All of it together is
// bounded by their sum, connections that wait by themselves, too.
const (
	maxWaiting    = 16              // connections that wait for a stream
	maxHandshakes = 16              // added for those that have not said what they want
	handshake     = 5 * time.Second // to say it
)

// Port is the socket of one attempt.
type Port struct {
	x    *Exchange
	gang Gang
	log  *slog.Logger
	path string
	l    *net.UnixListener

	waiting chan *Stream // never closed
	ctx     context.Context
	cancel  context.CancelFunc
	work    sync.WaitGroup // the listener, and all that handles a connection

	mu     sync.Mutex
	conns  map[*Stream]bool // from the container
	closed bool

	in, out atomic.Int64
}

// Open listens on the socket in dir for the guest of g.Self. It makes dir when
// it is missing, and replaces a socket that an earlier process left. before is
// what the attempt moved until then.
func (x *Exchange) Open(dir string, g Gang, before Usage, log *slog.Logger) (*Port, error) {
	l, err := mountsock.Listen(dir, guest.PeersSocket)
	if err != nil {
		return nil, fmt.Errorf("open port of task %s: %w", g.Self, err)
	}
	p := &Port{
		x: x, gang: g, log: log, path: filepath.Join(dir, guest.PeersSocket), l: l,
		waiting: make(chan *Stream, maxWaiting), conns: map[*Stream]bool{},
	}
	p.in.Store(int64(before.In))
	p.out.Store(int64(before.Out))
	p.ctx, p.cancel = context.WithCancel(context.Background())
	if err := x.add(p); err != nil {
		p.cancel()
		return nil, errors.Join(err, l.Close())
	}
	p.work.Go(p.accept)
	return p, nil
}

// Usage returns what moved so far, with what was before.
func (p *Port) Usage() Usage {
	return Usage{In: jobspec.Bytes(p.in.Load()), Out: jobspec.Bytes(p.out.Load())}
}

// Close ends all streams and removes the socket. Calling it twice is safe.
func (p *Port) Close() error {
	p.mu.Lock()
	first := !p.closed
	p.closed = true
	open := make([]*Stream, 0, len(p.conns))
	for s := range p.conns {
		open = append(open, s)
	}
	p.mu.Unlock()
	if !first {
		return nil
	}
	p.x.remove(p)
	p.cancel()
	err := p.l.Close()
	for _, s := range open {
		s.Abort()
	}
	p.work.Wait()
	if rmErr := os.Remove(p.path); !errors.Is(rmErr, os.ErrNotExist) {
		err = errors.Join(err, rmErr)
	}
	return err
}

// accept takes what the container connects, until Close.
func (p *Port) accept() {
	for {
		c, err := p.l.AcceptUnix()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // out of files
			select {
			case <-time.After(100 * time.Millisecond):
			case <-p.ctx.Done():
				return
			}
			continue
		}
		s := newStream(c)
		s.in, s.out = &p.in, &p.out
		if !p.track(s) {
			_ = c.Close()
			continue
		}
		p.work.Go(func() { p.handle(s) })
	}
}

// track counts a connection until its end. It reports false when there are too
// many, or the port is closed.
func (p *Port) track(s *Stream) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.conns) >= p.x.cfg.Conns+maxWaiting+maxHandshakes || !p.x.claim(p.gang) {
		return false
	}
	p.conns[s] = true
	s.release = func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.conns, s)
		p.x.unclaim(p.gang)
	}
	return true
}

// handle does what a connection from the container asks for.
func (p *Port) handle(s *Stream) {
	_ = s.conn.SetDeadline(time.Now().Add(p.x.handshake))
	line, err := bufio.NewReader(io.LimitReader(s.conn, guest.MaxHello)).ReadString('\n')
	if err != nil {
		s.Abort()
		return
	}
	to, opens := strings.CutPrefix(strings.TrimSuffix(line, "\n"), guest.HelloTo)
	switch {
	case opens:
		p.open(s, to)
	case line == guest.HelloAccept+"\n":
		_ = s.conn.SetDeadline(time.Time{})
		select {
		case p.waiting <- s:
		default:
			s.Abort()
		}
	default:
		s.Abort()
	}
}

// open joins a stream of the container with the task that it is for.
func (p *Port) open(s *Stream, to string) {
	_ = s.conn.SetDeadline(time.Time{}) // Dial has its own
	other, err := p.x.Dial(p.ctx, p.gang, to)
	if err != nil {
		p.log.Debug("stream to a peer is not joined", "to", to, "err", err)
		s.refuse(err)
		return
	}
	if err := s.answer(guest.Joined); err != nil {
		other.Abort()
		s.Abort()
		return
	}
	_ = join(s, other) // who said too little sees it in its frames
}

// take gives a connection of the guest that waited, and has told it so.
func (p *Port) take(ctx context.Context) (*Stream, error) {
	for {
		select {
		case s := <-p.waiting:
			if s.answer(guest.Joined) == nil {
				return s, nil
			}
			s.Abort()
		case <-ctx.Done():
			return nil, ErrNotThere
		case <-p.ctx.Done():
			return nil, ErrNotThere
		}
	}
}

// enter counts work on a stream from another member until its leave.
func (p *Port) enter() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.work.Add(1)
	}
	return !p.closed
}

// answer sends the byte that ends a hello.
func (s *Stream) answer(b byte) error {
	_ = s.conn.SetDeadline(time.Now().Add(handshake))
	_, err := s.conn.Write([]byte{b})
	return errors.Join(err, s.conn.SetDeadline(time.Time{}))
}

// refuse answers why there is no stream, and closes.
func (s *Stream) refuse(err error) {
	why := byte(guest.NotThere)
	if errors.Is(err, ErrDeaf) {
		why = guest.Deaf
	}
	_ = s.answer(why) // who asked may be gone
	_ = s.Close()
}
