package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/ipdc/ipdc/ipfs/gateway"
	"github.com/ipdc/ipdc/ipfs/swap"
	"github.com/ipdc/ipdc/jobspec"
)

// exchange is what the node fetches with and serves from: the members of its
// domain and then the gateways. The members' side is made anew when the
// domain's secret changes; who fetches meanwhile begins again.
type exchange struct {
	local   swap.Local   // what the node has stored; set before any member asks
	members bool         // there is a network of members, now or in a moment
	next    swap.Fetcher // the gateways; nil for none
	wait    time.Duration

	mu      sync.Mutex
	now     *swap.Swap    // nil while there is none
	held    bool          // now still serves, and is replaced soon
	changed chan struct{} // closed and made anew by set
	past    swap.Traffic  // of swaps before now
	offers  map[jobspec.CID]offer
}

// fetching makes the exchange; it does no I/O.
func (n *node) fetching() error {
	e := &exchange{members: n.set.P2PListen != off, wait: n.set.FetchWait.Std(), changed: make(chan struct{}), offers: map[jobspec.CID]offer{}}
	n.exchange = e
	if len(n.set.Gateways) == 0 {
		return nil
	}
	gw, err := gateway.New(gateway.Config{
		URLs: n.set.Gateways, Wait: n.set.FetchWait.Std(), MaxBytes: int64(n.set.InputBytes), Logger: n.log,
	})
	if err != nil {
		return usagef("%w", err)
	}
	n.onClose(gw.Close)
	e.next = gw
	return nil
}

// asks reports whether anybody is asked for what is not stored here.
func (e *exchange) asks() bool { return e.members || e.next != nil }

// set takes another swap, nil for none, and closes the one before.
func (e *exchange) set(s *swap.Swap) error {
	e.mu.Lock()
	old := e.now
	if old != nil {
		t, _ := old.Traffic()
		e.past = sum(e.past, t)
	}
	e.now, e.held = s, e.held && s == nil
	close(e.changed)
	e.changed = make(chan struct{})
	e.mu.Unlock()
	if old == nil {
		return nil
	}
	return old.Close()
}

// hold makes who fetches wait for the next swap. Members are still served.
func (e *exchange) hold() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.held = true
}

// replaced reports whether the swap is being replaced, or is about to be.
func (e *exchange) replaced() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.held || e.now == nil
}

// holdTime bounds the wait for another swap.
const holdTime = handOver + rejoinTime + 5*time.Second

// current returns the swap, and waits for the next one when it is being
// replaced.
func (e *exchange) current(ctx context.Context) *swap.Swap {
	late := time.NewTimer(holdTime)
	defer late.Stop()
	for {
		e.mu.Lock()
		s, changed := e.now, e.changed
		if e.held {
			s = nil
		}
		e.mu.Unlock()
		if s != nil || !e.members {
			return s
		}
		select {
		case <-changed:
		case <-late.C:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// with calls do with the swap until it was not replaced meanwhile. Without one
// the gateways are asked.
func (e *exchange) with(ctx context.Context, id jobspec.CID, do func(swap.Fetcher) error) error {
	for {
		s := e.current(ctx)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case s == nil && e.next != nil:
			return do(e.next)
		case s == nil:
			return jobspec.Failure{Kind: jobspec.KindFetchTimeout, Detail: fmt.Sprintf("block %s is not stored here, and the network of the domain is down", id),
				Hint: "look into the node's log"}.Error()
		}
		err := do(s)
		if err == nil || ctx.Err() != nil || e.is(s) {
			return err
		}
	}
}

func (e *exchange) is(s *swap.Swap) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.now == s && !e.held
}

// Block implements swap.Fetcher.
func (e *exchange) Block(ctx context.Context, id jobspec.CID) (data []byte, err error) {
	err = e.with(ctx, id, func(f swap.Fetcher) (err error) {
		data, err = f.Block(ctx, id)
		return err
	})
	return data, err
}

// DAG implements swap.Fetcher.
func (e *exchange) DAG(ctx context.Context, roots []jobspec.CID, put func(jobspec.CID, []byte) error) error {
	if len(roots) == 0 {
		return nil
	}
	return e.with(ctx, roots[0], func(f swap.Fetcher) error { return f.DAG(ctx, roots, put) })
}

// Has implements swap.Local: members get what is stored and what is offered.
func (e *exchange) Has(ctx context.Context, id jobspec.CID) (bool, error) {
	if e.offered(id) != nil {
		return true, nil
	}
	return e.local.Has(ctx, id)
}

// Get implements swap.Local.
func (e *exchange) Get(ctx context.Context, id jobspec.CID) ([]byte, error) {
	if data := e.offered(id); data != nil {
		return data, nil
	}
	return e.local.Get(ctx, id)
}

// offer is a block that is in memory only.
type offer struct {
	data []byte
	end  time.Time
}

// maxOffers bounds the blocks that are offered at once.
const maxOffers = 64

// Offer implements fleet.Blocks.
func (e *exchange) Offer(data []byte, till time.Duration) (jobspec.CID, error) {
	sum := sha256.Sum256(data)
	mh, err := multihash.Encode(sum[:], multihash.SHA2_256)
	if err != nil {
		return jobspec.CID{}, err
	}
	id := jobspec.WrapCID(cid.NewCidV1(cid.Raw, mh))
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	for id, o := range e.offers {
		if now.After(o.end) {
			delete(e.offers, id)
		}
	}
	if len(e.offers) >= maxOffers {
		return id, jobspec.KindLimit.Errorf("%d blocks are offered already", maxOffers)
	}
	e.offers[id] = offer{data, now.Add(till)}
	return id, nil
}

func (e *exchange) offered(id jobspec.CID) []byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	if o, ok := e.offers[id]; ok && time.Now().Before(o.end) {
		return o.data
	}
	return nil
}

// Fetch implements fleet.Blocks: of members only, and nothing is stored.
func (e *exchange) Fetch(ctx context.Context, id jobspec.CID) ([]byte, error) {
	s := e.current(ctx)
	if s == nil {
		return nil, fmt.Errorf("the network of the domain is down")
	}
	return s.OfMembers(ctx, id)
}

// traffic is what was exchanged since the start.
func (e *exchange) traffic() swap.Traffic {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.now == nil {
		return e.past
	}
	t, _ := e.now.Traffic()
	return sum(e.past, t)
}

func sum(a, b swap.Traffic) swap.Traffic {
	add := func(x, y swap.Bytes) swap.Bytes {
		return swap.Bytes{Content: x.Content + y.Content, Files: x.Files + y.Files, Directories: x.Directories + y.Directories, Blocks: x.Blocks + y.Blocks}
	}
	return swap.Traffic{In: add(a.In, b.In), Out: add(a.Out, b.Out)}
}
