package sidecar

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/joblog"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

const (
	tailEvery = 500 * time.Millisecond // between two questions for more of a log
	tailFor   = 5 * time.Second        // one of them
	tailPiece = 20 << 10               // bytes of one answer
)

// tail is what this node has of the log of an attempt that a member makes. It
// is asked for while somebody waits for it; the report brings the rest.
type tail struct {
	mu   sync.Mutex
	log  *joblog.Writer // nil = nothing yet
	seen int64          // bytes of the member's output
}

// take adds pieces of the member's log to the one here.
func (r *runner) take(t *tail, pieces io.Reader) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.log == nil {
		log, err := r.openLog()
		if err != nil {
			return err
		}
		t.log = log
		r.hub.notify(r.id)
	}
	end, err := t.log.Take(pieces, t.seen)
	t.seen = end
	return err
}

// close ends the log, and with it those who follow it.
func (t *tail) close() (kept, dropped int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.log == nil {
		return 0, 0
	}
	kept, dropped, _ = t.log.Close()
	return kept, dropped
}

// tailLog asks the member for what its program writes, as long as somebody
// waits for it, until ctx ends.
func (r *runner) tailLog(ctx context.Context, a *away) {
	tick := time.NewTicker(tailEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for more := r.Sidecar.wanted(r.this); more && ctx.Err() == nil; {
			once, cancel := context.WithTimeout(ctx, tailFor)
			got, err := bus.Request[wire.Tailed](once, r.cfg.Post, a.node, typeTail, wire.Tail{Attempt: r.this.String(), Token: a.token, From: a.tail.at()})
			cancel()
			if err == nil {
				err = r.take(&a.tail, bytes.NewReader(got.Pieces))
			}
			if more = err == nil && got.More; err != nil && ctx.Err() == nil {
				r.log.Debug("log of another node", "attempt", r.this, "err", err)
			}
		}
	}
}

func (t *tail) at() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.seen
}

// keepLog takes what the report brings of the log.
func (r *runner) keepLog(ctx context.Context, t *tail, c jobspec.CID) error {
	if !c.Defined() {
		return nil
	}
	pr, pw := io.Pipe()
	var g errgroup.Group
	g.Go(func() error {
		_, err := tree.Copy(ctx, r.cfg.IPFS, c, pw, ipfs.Budget{Bytes: maxLogFile})
		pw.CloseWithError(err)
		return err
	})
	err := r.take(t, pr)
	pr.CloseWithError(errNotRead)
	if cerr := g.Wait(); !errors.Is(cerr, errNotRead) {
		err = errors.Join(err, cerr)
	}
	return err
}

// tailed answers the owner of an attempt what its program has written.
func (s *Sidecar) tailed(ctx context.Context, l bus.Letter, q wire.Tail) (wire.Tailed, error) {
	var tries []jobspec.Attempt
	err := s.cfg.Store.View(ctx, func(tx *store.Tx) error {
		id, _, ok, err := tx.IdempotencyKey(originTenant(l.From.String()), q.Attempt+"/"+q.Token)
		if err == nil && !ok {
			err = leaseLost(q.Attempt)
		}
		if err == nil {
			tries, err = tx.Attempts(id)
		}
		return err
	})
	if err != nil || len(tries) == 0 {
		return wire.Tailed{}, err
	}
	b := &bounded{left: tailPiece}
	err = joblog.Copy(ctx, s.logFile(tries[len(tries)-1].ID), max(q.From, 0), b)
	full := errors.Is(err, errFull)
	if full || errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return wire.Tailed{Pieces: b.Bytes(), More: full}, err
}

// bounded is a buffer that takes whole writes, while they fit.
type bounded struct {
	bytes.Buffer
	left int
}

var errFull = errors.New("no room for more of the log")

func (b *bounded) Write(p []byte) (int, error) {
	if len(p) > b.left {
		return 0, errFull
	}
	b.left -= len(p)
	return b.Buffer.Write(p)
}

// want notes that somebody waits for the log of an attempt, until the function
// it returns is called.
func (s *Sidecar) want(id jobspec.AttemptID) (done func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tails[id]++
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.tails[id]--; s.tails[id] == 0 {
			delete(s.tails, id)
		}
	})
}

func (s *Sidecar) wanted(id jobspec.AttemptID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tails[id] > 0
}
