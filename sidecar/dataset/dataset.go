// Package dataset keeps named, signed, versioned directories of a node's
// tenants, and knows those of the other members of its domain.
//
//	k := dataset.New(dataset.Config{Key: key, Store: st, IPFS: node})
//	k.Create(ctx, "local", wire.DatasetWish{Name: "logs"})
//	k.Append(ctx, "local", "logs", wire.DatasetAppend{Entries: entries})
//	v, err := k.Resolve(ctx, "local", jobspec.DatasetRef{Name: "logs"}) // its newest root
//	err = k.Run(ctx)                                                  // removes what a crash left
//
// The content of a version is an ordinary UnixFS directory that links its
// entries, so that a job, a tool or another node reads it as any other. A signed
// [Head] says which directory that is, and which head was before.
//
// Invariants: a version that was answered with is durable, pinned and whole; an
// append that was cut leaves the version before, and pins that the next sweep
// removes; it costs O(change); of a member's dataset no head is taken that its
// owner has not signed, or that is older than one that was seen.
package dataset

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/internal/keylock"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

// Config is what a Keeper is made of. Fields without a default are required.
type Config struct {
	Key    identity.Key               // signs heads
	Domain string                     // id of the node's domain, which heads name
	Shared string                     // the tenant whose datasets the domain sees, and who sees the domain's; default none
	Store  *store.Store               //
	IPFS   ipfs.Node                  //
	Budget ipfs.Budget                // of one entry that is read; zero fields have ipfs's defaults
	Post   *bus.Post                  // to the other members; nil = a node alone
	Live   func() []identity.ID       // who they are; nil with Post nil
	Gather func(context.Context) bool // waits for those that are about to be heard; nil = nobody is
	Sweep  time.Duration              // until a look for what a crash left that could not be taken is tried again; default 1 min
	Logger *slog.Logger               // default slog.Default
	Now    func() time.Time           // default time.Now
}

// Keeper keeps the datasets of a node. Its methods may be called concurrently.
type Keeper struct {
	cfg   Config
	locks keylock.Locks // by pin prefix of the dataset
	busy  sync.RWMutex  // held for reading while pins are made that no row knows yet
	moved func(ctx context.Context, tenant, name string)
}

// New returns a keeper, which answers the members of Config.Post from now on. It
// does no I/O.
func New(cfg Config) *Keeper {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Sweep <= 0 {
		cfg.Sweep = time.Minute
	}
	k := &Keeper{cfg: cfg}
	if cfg.Post != nil {
		bus.Answer(cfg.Post, typeAsk, k.asked)
	}
	return k
}

// OnMove has f called after each new version of a dataset of this node. It is set
// once, before the first of them.
func (k *Keeper) OnMove(f func(ctx context.Context, tenant, name string)) { k.moved = f }

// Version is a version of a dataset, as far as jobs need it.
type Version struct {
	Name    string
	Version int
	Owner   identity.ID
	ID      string // of the dataset: one that is made anew under the name has another
	Root    jobspec.CID
	Head    jobspec.CID
}

// sweepEvery is how often pins that no row knows are looked for: only a crash
// leaves any, after which the first look is, or a block store that was away.
const sweepEvery = time.Hour

// Run removes pins that no row knows, until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	for {
		wait := max(k.cfg.Sweep, sweepEvery)
		if err := k.sweep(ctx); err != nil {
			wait = k.cfg.Sweep
			if ctx.Err() == nil && !errors.Is(err, errBusy) {
				k.cfg.Logger.Warn("sweep pins of datasets", "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

var errBusy = errors.New("an append is under way")

// Pins of a dataset begin with its prefix: "v3" is the content of version 3,
// "h3" its head, "new..." what is fetched for an append.
func prefix(tenant, name string) string { return "dataset/" + tenant + "/" + name + "/" }

func rootPin(tenant, name string, v int) string {
	return fmt.Sprintf("%sv%d", prefix(tenant, name), v)
}

func headPin(tenant, name string, v int) string {
	return fmt.Sprintf("%sh%d", prefix(tenant, name), v)
}

// sweep removes what appends have left that did not come to their end, unless
// one is under way, or the store cannot be written: it may hold more than is
// read of it then.
func (k *Keeper) sweep(ctx context.Context) error {
	if !k.busy.TryLock() {
		return errBusy
	}
	defer k.busy.Unlock()
	if err := k.cfg.Store.Check(ctx); err != nil {
		return err
	}
	pins, err := k.cfg.IPFS.Pins(ctx, "dataset/")
	if err != nil || len(pins) == 0 {
		return err
	}
	known := map[string]bool{}
	err = k.cfg.Store.View(ctx, func(tx *store.Tx) error {
		return tx.EachDatasetVersion(func(tenant, name string, version int, dropped bool) {
			known[headPin(tenant, name, version)] = true
			known[rootPin(tenant, name, version)] = !dropped
		})
	})
	if err != nil {
		return err
	}
	for _, p := range pins {
		if !known[p.Name] {
			err = errors.Join(err, k.cfg.IPFS.Unpin(ctx, p.Name))
		}
	}
	return err
}

// unpin takes pins off also when ctx has ended.
func (k *Keeper) unpin(ctx context.Context, names ...string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	for _, name := range names {
		if err := k.cfg.IPFS.Unpin(ctx, name); err != nil { // the sweep does it
			k.cfg.Logger.Warn("unpin", "pin", name, "err", err)
		}
	}
}

// shares says whether a tenant takes part in what the domain shares.
func (k *Keeper) shares(tenant string) bool {
	return k.cfg.Post != nil && tenant != "" && tenant == k.cfg.Shared
}

func (k *Keeper) self() identity.ID { return k.cfg.Key.ID() }

// described is a version as it is told.
func described(h Head, head jobspec.CID, kept bool) wire.DatasetVersion {
	return wire.DatasetVersion{
		Version: h.Version, Root: h.RootCID(), Head: head, Time: h.At(), Entries: h.Entries,
		Added: h.Added, Replaced: h.Replaced, Removed: h.Removed, Kept: kept,
	}
}

// readable says where in a request an error came up.
func at(where string, err error) error {
	if err == nil {
		return nil
	}
	f := jobspec.AsFailure(err)
	f.Where = strings.TrimSuffix(where+"."+f.Where, ".")
	return f.Error()
}
