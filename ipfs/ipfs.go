// Package ipfs is the contract of a node's IPFS backend: verified blocks in,
// verified blocks out, and pins by name. Adapters: embedded, kubo. ipfs/ipfstest is
// the suite that each adapter passes. The packages below it are tools over this
// contract: tree (reads a UnixFS DAG within a budget), stage (DAG to
// directory), pack (directory to DAG), merge (DAGs to one DAG), car (CAR
// streams).
//
//	root, err := node.Add(ctx, "user/x", func(w ipfs.Session) (jobspec.CID, error) {
//		res, err := pack.Tree(ctx, w, dir, pack.Options{})
//		return res.CID, err
//	})
//	blk, err := node.Get(ctx, root)
//
// Invariants: bytes that do not hash to their CID are neither stored nor
// returned; a root that Add or Pin returned for is whole and durable (fsync)
// and stays until its last pin is removed; GC takes neither pinned blocks nor
// those of a running Add.
package ipfs

import (
	"context"
	"errors"
	"time"

	"github.com/ipdc/ipdc/jobspec"
)

// ErrUnavailable is what an error is, by errors.Is, when the blocks are kept by
// somebody else who does not answer, answers nonsense or cannot store now. The
// same call may succeed later.
var ErrUnavailable = errors.New("what keeps the blocks is not available")

// Getter gives verified blocks.
type Getter interface {
	// Get returns the bytes of a block, which the caller must not change. The
	// error is of kind E_CID_HASH when c is not of a trusted hash function,
	// E_BLOCK_HASH when the stored bytes are not c's, E_FETCH_TIMEOUT when
	// nobody has it. Identity CIDs of at most 128 bytes are decoded in place.
	Get(ctx context.Context, c jobspec.CID) ([]byte, error)
}

// Streamer is a Getter that reads whole DAGs for less than a call and a
// block's memory each.
type Streamer interface {
	// Stream returns a Getter for one goroutine that reads the DAG below root
	// in one pass, best depth first in the order of links, and done to end it.
	// It gives other blocks too, and fails where Get does. Unlike other
	// Getters' bytes, those of a raw block are good only until its next Get.
	Stream(ctx context.Context, root jobspec.CID) (g Getter, done func())
}

// Stream returns what to read a DAG with in one pass: that of a [Streamer],
// else g itself.
func Stream(ctx context.Context, g Getter, root jobspec.CID) (_ Getter, done func()) {
	if s, ok := g.(Streamer); ok {
		return s.Stream(ctx, root)
	}
	return g, func() {}
}

// Session is a writer that reads its own writes. It is used by one goroutine.
type Session interface {
	Getter
	// Put stores a block. The error is of kind E_BLOCK_HASH when data does
	// not hash to c, E_LIMIT_BYTES when it is over 2 MiB. The block is durable
	// only after the session's Add has returned. The caller must not change
	// data afterwards: it may be written in the background.
	Put(ctx context.Context, c jobspec.CID, data []byte) error
}

// Voucher is a Session that takes its user's word for parts of a DAG: its Add
// does not look whether what is below a CID that was vouched for is stored. The
// user knows that a pin keeps it until Add has returned.
type Voucher interface{ Vouch(c jobspec.CID) }

// Node is an IPFS backend. All methods may be called concurrently.
type Node interface {
	Getter
	// Has reports whether the block is stored here, without fetching it.
	Has(ctx context.Context, c jobspec.CID) (bool, error)
	// Add runs fill, makes every block it put durable, and pins the root that
	// fill returned under name. The DAG below the root must be whole. When
	// fill or ctx fails nothing is pinned, and what was put is garbage.
	Add(ctx context.Context, name string, fill func(Session) (jobspec.CID, error)) (jobspec.CID, error)
	// Pin keeps the whole DAG below root under name, fetching what is
	// missing. A name that is taken is moved to the new root.
	Pin(ctx context.Context, name string, root jobspec.CID) error
	// Unpin removes the pin of that name; without one it does nothing.
	Unpin(ctx context.Context, name string) error
	// Pins returns the pins whose name begins with prefix, by name.
	Pins(ctx context.Context, prefix string) ([]Pin, error)
	// Verify reads every block below root and checks its hash.
	Verify(ctx context.Context, root jobspec.CID) (Stat, error)
	// GC removes blocks that no pin needs, and returns what it removed. Where
	// the store is somebody else's it removes no blocks, but what is left of
	// our own pins: the rest is for that store's collector.
	GC(ctx context.Context) (Stat, error)
	// Stat returns the blocks that are stored, or those that our pins hold
	// where the store is somebody else's. It may be some seconds old.
	Stat(ctx context.Context) (Stat, error)
	// Close flushes and closes; calling it twice is safe.
	Close() error
}

// StoredPinner is a Node that can pin without fetching. The error is of kind
// E_FETCH_TIMEOUT when some of the DAG is not stored; then nothing is pinned.
type StoredPinner interface {
	PinStored(ctx context.Context, name string, root jobspec.CID) error
}

// Pin keeps the DAG below Root.
type Pin struct {
	Name    string // "user/<cid>", "job/<id>/result", ...
	Root    jobspec.CID
	Created time.Time
}

// Stat counts blocks.
type Stat struct {
	Blocks int64
	Bytes  int64
}

// Budget bounds the reading of a DAG that may be hostile. The zero value of a
// field means its default.
type Budget struct {
	Bytes    int64         // of file content; default 10 GiB
	Entries  int64         // files, directories and links; default 100,000
	Levels   int           // of directories; default 64
	DAGDepth int           // of blocks below one file or HAMT; default 32
	Blocks   int64         // read in all; default 16 per entry plus one per 64 KiB of Bytes
	Time     time.Duration // default none
}
