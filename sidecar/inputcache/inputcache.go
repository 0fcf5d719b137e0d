// Package inputcache keeps staged inputs, one read-only directory per CID, for
// all tasks of a node to mount.
//
//	cache, err := inputcache.Open(ctx, inputcache.Config{Dir: dir, MaxBytes: 10 << 30, Stage: stage})
//	cache.Settle() // once all that run on from an earlier process have asked for their entries
//	entry, release, err := cache.Acquire(ctx, root) // staged at most once
//	defer release()                                 // after the last container that mounts it
//	mount(entry.Path, "/inputs")
//
// Invariants: a path that Acquire returned holds the whole input and does not
// change or vanish before its release; an input is staged by one goroutine,
// however many ask for it; a staging that failed or was killed leaves nothing.
// Entries outlive the process, but not a restart of the machine, so that
// staging needs no fsync. Containers outlive it too: until Settle no entry of an
// earlier process is removed, as one may have it mounted.
package inputcache

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/ipdc/ipdc/internal/rmtree"
	"github.com/ipdc/ipdc/jobspec"
)

// Config is what a cache is made of. Dir and Stage are required.
type Config struct {
	Dir      string // holds the cache and nothing else; made with mode 0700, so that no host user gets at inputs
	MaxBytes int64  // what unused entries are removed above; default 10 GiB
	// Stage writes the directory tree of c as dest, which does not exist, and
	// returns the bytes it takes. When it fails, what it wrote is removed.
	Stage func(ctx context.Context, c jobspec.CID, dest string) (bytes int64, err error)
	// Brief says of an entry that was staged, or found at the start, that it
	// goes with its last user, before release returns; default never.
	Brief  func(ctx context.Context, c jobspec.CID) bool
	Logger *slog.Logger // default slog.Default
}

// Cache is an open cache. Its methods are safe for concurrent use.
type Cache struct {
	cfg  Config
	log  *slog.Logger
	work sync.WaitGroup // stagings and removals

	mu      sync.Mutex
	settled bool // entries of an earlier process are as any others
	entries map[jobspec.CID]*item
	recent  *list.List // of *item, the one used last in front
	bytes   int64      // of all entries
	brief   int        // entries that go with their last user
	flights map[jobspec.CID]*flight
	serial  int // of temporary names
	closed  bool
}

// CAR is the name of the one file in an entry that was staged as a CAR.
const CAR = "inputs.car"

// Entry is a staged input.
type Entry struct {
	Path string // absolute; directories have mode 0555, files 0444
}

// item is an entry on disk.
type item struct {
	cid   jobspec.CID
	bytes int64
	users int
	old   bool // of an earlier process and not asked for since
	brief bool // goes with its last user
	place *list.Element
}

// ErrClosed is returned by Acquire after Close.
var ErrClosed = errors.New("input cache is closed")

// Open takes over what an earlier process has staged since the machine was
// started, and removes what it left half-done.
func Open(ctx context.Context, cfg Config) (*Cache, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = 10 << 30
	}
	if cfg.Brief == nil {
		cfg.Brief = func(context.Context, jobspec.CID) bool { return false }
	}
	var err error
	if cfg.Dir, err = filepath.Abs(cfg.Dir); err == nil {
		err = os.MkdirAll(cfg.Dir, 0o700)
	}
	if err == nil {
		err = os.Chmod(cfg.Dir, 0o700)
	}
	if err != nil {
		return nil, fmt.Errorf("open input cache: %w", err)
	}
	c := &Cache{
		cfg: cfg, log: cfg.Logger,
		entries: map[jobspec.CID]*item{}, recent: list.New(), flights: map[jobspec.CID]*flight{},
	}
	if err := c.load(ctx); err != nil {
		return nil, fmt.Errorf("open input cache: %w", err)
	}
	return c, nil
}

// Acquire returns the staged input of root and keeps it until release is
// called, which may be done twice. When it is not there it is staged; when ctx
// ends meanwhile Acquire returns its cause, and the staging goes on as long as
// others wait for it. Errors of Stage are wrapped.
func (c *Cache) Acquire(ctx context.Context, root jobspec.CID) (Entry, func(), error) {
	if !root.Defined() {
		return Entry{}, nil, errors.New("acquire input: no CID")
	}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return Entry{}, nil, ErrClosed
	}
	if it := c.entries[root]; it != nil && c.present(it) {
		c.use(it)
		c.mu.Unlock()
		return c.hand(it)
	}
	f := c.join(ctx, root)
	c.mu.Unlock()
	select {
	case <-f.done:
	case <-ctx.Done():
		if c.leave(f) {
			return Entry{}, nil, fmt.Errorf("stage input %s: %w", root, context.Cause(ctx))
		}
	}
	if f.err != nil {
		return Entry{}, nil, fmt.Errorf("stage input %s: %w", root, f.err)
	}
	return c.hand(f.item)
}

// present says whether the entry is still on disk, and forgets it when somebody
// has removed it by hand; c.mu is held.
func (c *Cache) present(it *item) bool {
	_, err := os.Lstat(c.data(it.cid))
	if errors.Is(err, fs.ErrNotExist) {
		c.drop(it)
		return false
	}
	return true
}

// use counts a user of the entry; c.mu is held.
func (c *Cache) use(it *item) {
	it.users++
	it.old = false
	c.recent.MoveToFront(it.place)
}

// hand returns a counted use of the entry to a caller.
func (c *Cache) hand(it *item) (Entry, func(), error) {
	now := time.Now()
	if err := os.Chtimes(c.dir(it.cid), now, now); err != nil { // the order of use for a later process
		c.log.Warn("mark input as used", "cid", it.cid, "err", err)
	}
	release := sync.OnceFunc(func() {
		c.mu.Lock()
		it.users--
		gone := c.evict(c.cfg.MaxBytes)
		c.mu.Unlock()
		if it.brief {
			c.remove(gone) // before the next one is staged in its place
			return
		}
		c.discard(gone)
	})
	return Entry{Path: c.data(it.cid)}, release, nil
}

// Close waits for stagings, which it cancels, and for removals. Entries stay.
// Closing it twice is safe.
func (c *Cache) Close() error {
	c.mu.Lock()
	c.closed = true
	for _, f := range c.flights {
		f.cancel(ErrClosed)
	}
	c.mu.Unlock()
	c.work.Wait()
	return nil
}

// dir holds the directory data and the file size of an entry. It gets its name
// when both are complete.
func (c *Cache) dir(root jobspec.CID) string  { return filepath.Join(c.cfg.Dir, root.String()) }
func (c *Cache) data(root jobspec.CID) string { return filepath.Join(c.dir(root), dataName) }

const (
	dataName = "data"
	sizeName = "size"
)

// temp returns a new name that no CID has; c.mu is held.
func (c *Cache) temp() string {
	c.serial++
	return filepath.Join(c.cfg.Dir, ".tmp-"+strconv.Itoa(c.serial))
}

// Trim removes about so many bytes of unused entries, as far as there are any.
func (c *Cache) Trim(bytes int64) {
	c.mu.Lock()
	var gone []string
	if !c.closed {
		gone = c.evict(c.bytes - bytes)
	}
	c.mu.Unlock()
	c.discard(gone)
}

// Settle says that whoever has an entry of an earlier process mounted has asked
// for it by now: the others may go as any that nobody uses. It may be called
// more than once.
func (c *Cache) Settle() {
	c.mu.Lock()
	c.settled = true
	var gone []string
	if !c.closed {
		gone = c.evict(c.cfg.MaxBytes)
	}
	c.mu.Unlock()
	c.discard(gone)
}

// evict takes brief entries out of the cache, and those used least recently
// while it is larger than limit, but none in use, and returns where they are now;
// c.mu is held.
func (c *Cache) evict(limit int64) (gone []string) {
	for e := c.recent.Back(); e != nil && (c.bytes > limit || c.brief > 0); {
		it := e.Value.(*item)
		e = e.Prev()
		if it.users > 0 || it.old && !c.settled || c.bytes <= limit && !it.brief {
			continue
		}
		to := c.temp()
		if err := os.Rename(c.dir(it.cid), to); err != nil && !errors.Is(err, fs.ErrNotExist) {
			c.log.Warn("evict input", "cid", it.cid, "err", err)
			continue
		}
		c.log.Debug("evict input", "cid", it.cid, "bytes", it.bytes)
		c.drop(it)
		gone = append(gone, to)
	}
	return gone
}

// discard removes trees in the background: nobody waits for that but Close.
func (c *Cache) discard(gone []string) {
	if len(gone) == 0 {
		return
	}
	c.work.Go(func() { c.remove(gone) })
}

func (c *Cache) remove(gone []string) {
	for _, path := range gone {
		if err := rmtree.Remove(path); err != nil {
			c.log.Warn("remove input", "path", path, "err", err)
		}
	}
}
