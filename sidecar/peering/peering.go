// Package peering carries what the tasks of a gang say to each other. Each
// attempt of such a task has a unix socket in its container ([Port]), at which
// its guest opens streams to other tasks by their names and waits for those that
// others open. An [Exchange] joins two of them: at this node, or by an
// authenticated stream to the member that runs the other task.
//
//	x := peering.New(peering.Config{Self: id, Streams: streams, Logger: log})
//	streams.Handle(peering.Protocol, x.Serve)
//	p, err := x.Open(dir, gang, peering.Usage{}, log) // dir is mounted at guest.PeersDir
//	defer p.Close()                                   // ends every stream
//	n := p.Usage().In                                 // bytes that came from other tasks
//
// Invariants: a stream begins and ends at tasks of one generation of one gang,
// or begins at the owner of their job. A member is believed to speak for a task
// only when the owner said that it runs that task. What is buffered is bounded
// for each stream, streams for each task, gang and node; a reader that is slow holds up its own
// stream only.
//
// docs/adr/0031-gang-traffic.md says why it is so.
package peering

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire/guest"
)

// Gang is one generation of a gang, as its owner has told who runs a task of it.
type Gang struct {
	Owner identity.ID            // whose job it is
	ID    string                 // of the generation, in the whole domain
	Self  string                 // the task whose attempt it is; "" for the owner itself
	Nodes map[string]identity.ID // of all its tasks, by their names
}

// Of returns the gang of an attempt's facts.
func Of(owner identity.ID, p jobspec.Peers) Gang {
	g := Gang{Owner: owner, ID: p.Gang, Nodes: map[string]identity.ID{}}
	for i, t := range p.Tasks {
		g.Nodes[t.Name] = identity.ID(t.Node)
		if i == p.Self {
			g.Self = t.Name
		}
	}
	return g
}

// ForOwner is g as its owner sees it, who forwards streams of its users.
func (g Gang) ForOwner() Gang {
	g.Self = ""
	return g
}

// Config says what exchanges have in common.
type Config struct {
	// Self is this node.
	Self identity.ID
	// Streams reach other members; nil = there are none.
	Streams bus.Streams
	// Conns is how many streams one task may have at a time; more are refused.
	// Default 128.
	Conns int
	// Total is how many connections all containers of this node may have at a
	// time, those of one gang half of them; more are closed. Default 4,096, of
	// which each takes up to 16 KiB here.
	Total int
	// Patience is how long a stream waits for the other task's guest and for
	// the answer of its program. Default 5 s.
	Patience time.Duration
	// Logger takes refusals. Default none.
	Logger *slog.Logger
}

// Usage is what an attempt moved to and from other tasks of its gang, as
// carried: with a few bytes for each piece.
type Usage struct{ In, Out jobspec.Bytes }

// Exchange joins the streams of the tasks that run at one node. Its methods may
// be called from any goroutine.
type Exchange struct {
	cfg Config
	log *slog.Logger

	mu    sync.Mutex
	ports map[place]*Port
	conns map[place]int // from containers, by gang: without a task
	total int           // of conns

	handshake time.Duration                                // replaced by tests, as is admits
	admits    func(g Gang, h hello, from identity.ID) bool // what a member may open
}

// place is where a stream may end: a task of one generation.
type place struct {
	owner identity.ID
	gang  string
	task  string
}

func (g Gang) place(task string) place { return place{g.Owner, g.ID, task} }

// New returns an exchange without tasks. It does no I/O.
func New(cfg Config) *Exchange {
	if cfg.Conns <= 0 {
		cfg.Conns = 128
	}
	if cfg.Total <= 0 {
		cfg.Total = 4096
	}
	if cfg.Patience <= 0 {
		cfg.Patience = 5 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Exchange{cfg: cfg, log: cfg.Logger, ports: map[place]*Port{}, conns: map[place]int{}, handshake: handshake, admits: Gang.admits}
}

// Why a stream is not joined.
var (
	// ErrNotThere says that the task does not run now.
	ErrNotThere = errors.New("the task does not run now")
	// ErrDeaf says that the task's program does not listen on its port.
	ErrDeaf = errors.New("the task's program does not listen on its port")

	errRefused = errors.New("refused")
)

// add makes a task known here.
func (x *Exchange) add(p *Port) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	at := p.gang.place(p.gang.Self)
	if x.ports[at] != nil {
		return fmt.Errorf("task %s of this generation has a port already", p.gang.Self)
	}
	x.ports[at] = p
	return nil
}

func (x *Exchange) remove(p *Port) {
	x.mu.Lock()
	defer x.mu.Unlock()
	maps.DeleteFunc(x.ports, func(_ place, q *Port) bool { return p == q })
}

// claim counts a connection of a container of g. It reports false when there are
// too many at this node, or in this gang.
func (x *Exchange) claim(g Gang) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	at := g.place("")
	if x.total >= x.cfg.Total || x.conns[at] >= x.cfg.Total/2 {
		return false
	}
	x.total++
	x.conns[at]++
	return true
}

// unclaim ends what claim counted.
func (x *Exchange) unclaim(g Gang) {
	x.mu.Lock()
	defer x.mu.Unlock()
	at := g.place("")
	x.total--
	if x.conns[at]--; x.conns[at] == 0 {
		delete(x.conns, at)
	}
}

func (x *Exchange) find(at place) *Port {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.ports[at]
}

// Dial opens a stream to a task for g.Self, or for the owner of the gang. The
// error is ErrNotThere or ErrDeaf, or says why a member was not reached. What is said on the stream is in frames.
func (x *Exchange) Dial(ctx context.Context, g Gang, task string) (*Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, x.cfg.Patience)
	defer cancel()
	node, ok := g.Nodes[task]
	switch {
	case !ok || task == g.Self:
		return nil, fmt.Errorf("%w: %.80q is no other task of the gang", errRefused, task)
	case node == x.cfg.Self:
		return x.dialHere(ctx, g, task)
	case node == "":
		return nil, ErrNotThere
	case x.cfg.Streams == nil:
		return nil, bus.ErrUnavailable
	}
	return x.dialMember(ctx, g, node, task)
}

func (x *Exchange) dialHere(ctx context.Context, g Gang, task string) (*Stream, error) {
	p := x.find(g.place(task))
	if p == nil {
		return nil, ErrNotThere
	}
	s, err := p.take(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.hear(ctx); err != nil {
		s.Abort()
		return nil, err
	}
	return s, nil
}

// dialMember asks the member that runs the task.
func (x *Exchange) dialMember(ctx context.Context, g Gang, node identity.ID, task string) (*Stream, error) {
	bs, err := x.cfg.Streams.Stream(ctx, node, Protocol)
	if err != nil {
		return nil, err
	}
	s := newStream(bs)
	end, _ := ctx.Deadline()
	err = errors.Join(bs.SetDeadline(end), hello{Owner: g.Owner, Gang: g.ID, From: g.Self, To: task}.write(bs))
	if err == nil {
		err = s.hear(ctx)
	}
	if err != nil {
		s.Abort()
		return nil, err
	}
	return s, nil
}

// hear reads the first byte of the other side.
func (s *Stream) hear(ctx context.Context) error {
	stop := context.AfterFunc(ctx, s.Abort)
	defer stop()
	end, _ := ctx.Deadline()
	b := make([]byte, 1)
	err := s.conn.SetDeadline(end)
	if err == nil {
		_, err = s.conn.Read(b)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotThere, err)
	}
	switch b[0] {
	case guest.Joined:
		return s.conn.SetDeadline(time.Time{})
	case guest.Deaf:
		return ErrDeaf
	}
	return ErrNotThere
}
