// Package kubo is the ipfs.Node that keeps its blocks in a Kubo that the user
// runs already, over Kubo's RPC. It changes nothing of that Kubo but the blocks
// and pins that it adds itself.
//
//	addr, err := kubo.ParseAddr("/ip4/127.0.0.1/tcp/5001")
//	node, err := kubo.Open(ctx, kubo.Config{Addr: addr, Dir: dir, Owner: "ipdc-1a2b3c4d"})
//	defer node.Close()
//	blk, err := node.Get(ctx, root) // verified here
//
// Invariants:
//
// Kubo chooses no CID. Blocks are packed here, kept in a file until their Add
// is done, and sent as a CAR whose CIDs Kubo checks; what comes back is hashed
// again. An Add that fails sends nothing.
//
// The user's pins are never touched. Kubo has one pin per CID, and takes an old
// one off while it sets it again; so what is pinned is not the root but a
// small block of ours that links to it (see label). Names are rows here, and
// Kubo holds the label while there is one. Row, pin, name, in this order: a
// process that dies in between leaves a row without a name, and the next Open
// takes the pin off.
//
// Kubo's collector may run at any time. A CAR and its pin go in one dag/import,
// which holds Kubo's pin lock, so that it cannot come between. Blocks that an
// Add links to and did not put itself may go until then; Kubo then refuses
// the pin and the Add fails.
//
// Durable means as durable as that Kubo makes it: its flatfs does not fsync
// unless Datastore.Spec says so. What Kubo announces to its peers is its own
// configuration too.
package kubo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/ipdc/ipdc/internal/durable"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/internal/dag"
	"github.com/ipdc/ipdc/jobspec"
)

// What is asked of Kubo at one time, so that its other users are served too.
const (
	localCalls = 8  // for blocks that it has
	fetchCalls = 16 // for blocks that it looks for among its peers
)

// Config says which Kubo a Node works with.
type Config struct {
	Addr  Addr          // of its RPC
	Dir   string        // created when missing, of one process; holds pins.db and files of running Adds
	Owner string        // names this node in the labels it pins; another node on the same Kubo has another
	Fetch time.Duration // how long Kubo may look for a block among its peers; default 30 s
	// MaxBytes bounds what a Pin has Kubo fetch of one DAG; default 10 GiB.
	// What Kubo has already does not count.
	MaxBytes int64
	// Room returns an error when so many bytes more must not be stored. What a
	// Pin fetches asks it, before each block. Default: no limit.
	Room func(ctx context.Context, more int64) error
	// Answer is how long Kubo may be silent to a call that needs no more than its
	// own disk; an import may take ten times as long. Default 1 min.
	Answer time.Duration
	Logger *slog.Logger // default: no log
}

// Node implements ipfs.Node on a Kubo.
type Node struct {
	dir     string
	owner   string
	fetch   time.Duration
	max     int64 // that one Pin fetches
	room    func(ctx context.Context, more int64) error
	log     *slog.Logger
	rpc     *rpc
	version string
	pins    *pinTable

	local, remote, streams *semaphore.Weighted // calls under way
	turn                   *semaphore.Weighted // imports and changes of pins, one at a time

	// doubt holds since when it is open whether Kubo will pin a root: nobody
	// waited for the answer of its import. Whoever has the turn may use it.
	doubt map[jobspec.CID]time.Time

	closeOnce sync.Once
	closeErr  error
}

var (
	_ ipfs.Node     = (*Node)(nil)
	_ ipfs.Streamer = (*Node)(nil)
)

// Open reaches the Kubo, refuses one that is too old, and takes off the pins
// that an earlier process left without a name.
func Open(ctx context.Context, cfg Config) (*Node, error) {
	n := &Node{
		dir: cfg.Dir, owner: cfg.Owner, fetch: cfg.Fetch, log: cfg.Logger, rpc: newRPC(cfg.Addr, cfg.Answer),
		local: semaphore.NewWeighted(localCalls), remote: semaphore.NewWeighted(fetchCalls),
		streams: semaphore.NewWeighted(streamCalls), turn: semaphore.NewWeighted(1),
		doubt: map[jobspec.CID]time.Time{}, max: cfg.MaxBytes, room: cfg.Room,
	}
	if n.max == 0 {
		n.max = int64(10 * jobspec.GiB)
	}
	if n.room == nil {
		n.room = func(context.Context, int64) error { return nil }
	}
	if n.fetch == 0 {
		n.fetch = 30 * time.Second
	}
	if n.log == nil {
		n.log = slog.New(slog.DiscardHandler)
	}
	if err := n.open(ctx); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

func (n *Node) open(ctx context.Context) (err error) {
	if n.owner == "" {
		return errors.New("open Kubo: no owner")
	}
	if n.version, err = n.rpc.version(ctx); err != nil {
		return err
	}
	if err := os.MkdirAll(n.dir, 0o700); err != nil {
		return fmt.Errorf("open Kubo: %w", err)
	}
	// A process that was killed just then has left the name of its Add's file.
	if err := durable.Sweep(n.dir); err != nil {
		n.log.Warn("what an earlier process left", "err", err)
	}
	if n.pins, err = openPins(ctx, filepath.Join(n.dir, "pins.db")); err != nil {
		return err
	}
	return n.recover(ctx)
}

// Version asks the Kubo at addr for its version, and changes nothing there. The
// error is that of [Open] when there is none or it is too old.
func Version(ctx context.Context, addr Addr) (string, error) {
	r := newRPC(addr, 0)
	defer r.close()
	return r.version(ctx)
}

// String says which Kubo it is, for people: "Kubo 0.43.0 at 127.0.0.1:5001".
func (n *Node) String() string { return "Kubo " + n.version + " at " + n.rpc.addr.String() }

// Close implements ipfs.Node. The Kubo runs on.
func (n *Node) Close() error {
	n.closeOnce.Do(func() {
		n.rpc.close()
		if n.pins != nil {
			n.closeErr = n.pins.close()
		}
	})
	return n.closeErr
}

// Get implements ipfs.Getter. Kubo asks its peers for what it does not have.
func (n *Node) Get(ctx context.Context, c jobspec.CID) ([]byte, error) {
	data, err := n.getLocal(ctx, c)
	if !errors.Is(err, errMissing) {
		return data, err
	}
	return n.getRemote(ctx, c)
}

// getRemote has Kubo get a block from its peers.
func (n *Node) getRemote(ctx context.Context, c jobspec.CID) ([]byte, error) {
	if err := n.remote.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer n.remote.Release(1)
	fetch, cancel := context.WithTimeout(ctx, n.fetch)
	defer cancel()
	data, err := n.rpc.block(fetch, c, false)
	if errors.Is(err, errMissing) || (ctx.Err() == nil && fetch.Err() != nil) {
		return nil, n.missing(c)
	}
	return verified(c, data, err)
}

// getLocal gets a block that Kubo has; errMissing when it has not.
func (n *Node) getLocal(ctx context.Context, c jobspec.CID) ([]byte, error) {
	if data, inline, err := dag.Inline(c); inline || err != nil {
		return data, err
	}
	if err := n.local.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer n.local.Release(1)
	data, err := n.rpc.block(ctx, c, true)
	return verified(c, data, err)
}

func verified(c jobspec.CID, data []byte, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	return data, dag.Verify(c, data)
}

// Has implements ipfs.Node.
func (n *Node) Has(ctx context.Context, c jobspec.CID) (bool, error) {
	_, err := n.size(ctx, c)
	if errors.Is(err, errMissing) {
		return false, nil
	}
	return err == nil, err
}

// size returns the bytes of a block that Kubo has, 0 for an identity CID, which
// takes no place; errMissing when it has not.
func (n *Node) size(ctx context.Context, c jobspec.CID) (int64, error) {
	if _, inline, err := dag.Inline(c); inline || err != nil {
		return 0, err
	}
	if err := n.local.Acquire(ctx, 1); err != nil {
		return 0, err
	}
	defer n.local.Release(1)
	return n.rpc.blockSize(ctx, c)
}

// stored is the Getter of what Kubo has, without asking its peers.
type stored struct{ n *Node }

func (s stored) Get(ctx context.Context, c jobspec.CID) ([]byte, error) {
	data, err := s.n.getLocal(ctx, c)
	if errors.Is(err, errMissing) {
		err = s.n.missing(c)
	}
	return data, err
}

func (n *Node) missing(c jobspec.CID) error {
	return jobspec.Failure{
		Kind:   jobspec.KindFetchTimeout,
		Detail: fmt.Sprintf("block %s is not in %s, and none of its peers gave it within %s", c, n, n.fetch),
		Hint:   "add the data first: ipdc add PATH, or ipfs add -r PATH",
	}.Error()
}
