// Package embedded is the ipfs.Node inside the sidecar: blocks in flatfs, pins
// in SQLite. It has no network of its own: what is not stored is had from
// Config.Fetcher or not at all.
//
//	node, err := embedded.Open(ctx, embedded.Config{Dir: "/var/lib/ipdc/ipfs"})
//	defer node.Close()
//	root, err := node.Add(ctx, "user/x", func(s ipfs.Session) (jobspec.CID, error) {
//		return leaf, s.Put(ctx, leaf, []byte("hello"))
//	})
//
// Invariants: the pin is written last, after every block and its directory
// are on disk, so a pin never names a DAG that a crash could tear; a block is
// deleted only when no pin reaches it and no running Add holds it; one
// directory is open in one process at a time.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/ipfs/boxo/datastore/dshelp"
	"github.com/ipfs/go-datastore"
	"github.com/ipfs/go-ds-flatfs"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/internal/dag"
	"github.com/ipdc/ipdc/jobspec"
)

// Config says where a Node keeps its data.
type Config struct {
	Dir    string       // created when missing; holds blocks/, pins.db and lock
	Logger *slog.Logger // default: no log
	// Fetcher gets for Get and Pin what is not stored here; default nobody.
	Fetcher Fetcher
	// Room returns an error when so many bytes more must not be stored. What
	// is fetched asks it; an Add does not, as its caller has. Default: no limit.
	Room func(ctx context.Context, more int64) error
	// Beside has blocks that lie elsewhere on this machine; default none.
	Beside Beside
}

// Node implements ipfs.Node on local files.
type Node struct {
	log    *slog.Logger
	lock   *lockFile
	blocks *flatfs.Datastore
	bulk   *flatfs.Datastore // the same directory, for batches that are synced as a whole
	dir    string            // of blocks
	pins   *pinTable
	usage  usage

	beside  Beside
	fetcher Fetcher // nil without one
	room    func(context.Context, int64) error

	// pinning is read-locked from the check that a DAG is whole until its pin
	// is written, and locked by GC: what was found whole cannot be swept
	// before it is pinned. Adds fill their sessions outside of it.
	pinning sync.RWMutex
	// commits is read-locked while a batch of blocks becomes durable. Locking
	// it waits for the batches of others.
	commits sync.RWMutex
	// sweep guards sessions and the blocks that each of them holds.
	sweep    sync.Mutex
	sessions map[*session]struct{}

	closeOnce sync.Once
	closeErr  error
}

var _ ipfs.Node = (*Node)(nil)

// Open opens the node in cfg.Dir, or creates it. It fails when another process
// has it open.
func Open(ctx context.Context, cfg Config) (*Node, error) {
	n := &Node{log: cfg.Logger, fetcher: cfg.Fetcher, room: cfg.Room, beside: cfg.Beside, sessions: map[*session]struct{}{}}
	if n.beside == nil {
		n.beside = nothing{}
	}
	if n.room == nil {
		n.room = func(context.Context, int64) error { return nil }
	}
	if n.log == nil {
		n.log = slog.New(slog.DiscardHandler)
	}
	if err := n.open(ctx, cfg.Dir); err != nil {
		return nil, errors.Join(fmt.Errorf("open IPFS node in %s: %w", cfg.Dir, err), n.Close())
	}
	return n, nil
}

func (n *Node) open(ctx context.Context, dir string) (err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if n.lock, err = acquire(filepath.Join(dir, "lock")); err != nil {
		return err
	}
	blocks := filepath.Join(dir, "blocks")
	n.dir = blocks
	if n.blocks, err = flatfs.CreateOrOpen(blocks, sharding, true); err != nil {
		return fmt.Errorf("open blocks: %w", err)
	}
	if n.bulk, err = flatfs.Open(blocks, false); err != nil { // before anything is written: opening sweeps what is half written
		return fmt.Errorf("open blocks: %w", err)
	}
	if n.lock.unclean {
		// A killed process may have left blocks that look stored and are not
		// on disk yet. Add would rely on them.
		n.log.Info("node was not closed; syncing its file system", "dir", dir)
		if err := syncFileSystem(blocks); err != nil {
			return err
		}
	}
	if n.pins, err = openPins(ctx, filepath.Join(dir, "pins.db")); err != nil {
		return err
	}
	return syncAll(filepath.Join(blocks, flatfs.SHARDING_FN), blocks, dir, filepath.Dir(dir))
}

// Close implements ipfs.Node. Adds that still run fail.
func (n *Node) Close() error {
	n.closeOnce.Do(func() {
		var errs []error
		if n.pins != nil {
			errs = append(errs, n.pins.close())
		}
		for _, ds := range []*flatfs.Datastore{n.bulk, n.blocks} {
			if ds != nil {
				errs = append(errs, ds.Close())
			}
		}
		if n.lock != nil {
			errs = append(errs, n.lock.release())
		}
		n.closeErr = errors.Join(errs...)
	})
	return n.closeErr
}

// Get implements ipfs.Getter.
func (n *Node) Get(ctx context.Context, c jobspec.CID) ([]byte, error) {
	data, err := n.local(ctx, c)
	switch {
	case n.fetcher == nil || !isMissing(err):
		return data, err
	case n.beside.Lost(c):
		return n.replace(ctx, c, err)
	}
	return n.fetchBlock(ctx, c)
}

// local is Get of what is stored.
func (n *Node) local(ctx context.Context, c jobspec.CID) ([]byte, error) {
	if data, inline, err := dag.Inline(c); inline || err != nil {
		return data, err
	}
	data, err := n.read(ctx, c)
	if err != nil {
		return nil, err
	}
	if data != nil {
		return data, dag.Verify(c, data)
	}
	if data, err = n.beside.Get(ctx, c); data == nil && err == nil {
		err = missing(c)
	}
	return data, err
}

// here is the node without its fetcher, for whoever asks what is stored.
type here struct{ n *Node }

func (h here) Get(ctx context.Context, c jobspec.CID) ([]byte, error) { return h.n.local(ctx, c) }

// Has implements ipfs.Node.
func (n *Node) Has(ctx context.Context, c jobspec.CID) (bool, error) {
	if _, inline, err := dag.Inline(c); inline || err != nil {
		return inline, err
	}
	ok, err := n.blocks.Has(ctx, key(c))
	if err != nil {
		return false, fmt.Errorf("look for block %s: %w", c, err)
	}
	return ok || n.beside.Has(c), nil
}

// read returns the stored bytes of a block, not verified, or nil when it is
// not stored.
func (n *Node) read(ctx context.Context, c jobspec.CID) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	data, err := n.blocks.Get(ctx, key(c))
	switch {
	case errors.Is(err, datastore.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read block %s: %w", c, err)
	case data == nil:
		return []byte{}, nil
	}
	return data, nil
}

func missing(c jobspec.CID) error {
	return jobspec.Failure{
		Kind:   jobspec.KindFetchTimeout,
		Detail: fmt.Sprintf("block %s is not stored here, and nobody was asked as this node has no peers and no gateway", c),
		Hint:   "add the data on this node first (ipdc add PATH), or fetch public data from a trustless gateway: ipdc node start --gateway URL",
	}.Error()
}

func key(c jobspec.CID) datastore.Key { return dshelp.MultihashToDsKey(c.Cid().Hash()) }
