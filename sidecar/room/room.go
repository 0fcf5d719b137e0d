// Package room keeps the disk from getting full: it refuses new data while
// there is still room for running jobs to end, and has garbage collected by
// time and under pressure.
//
//	k := room.New(room.Config{Dir: dir, MinFree: 2 * jobspec.GiB, Stat: node.Stat, GC: node.GC})
//	err := k.Admit(ctx, 0)      // before new work: E_LIMIT with numbers
//	err = k.Check(ctx, 16<<20)  // while data comes in
//	err = k.Run(ctx)            // collects until ctx ends
//
// Invariants: what is pinned or in use is never removed; a refusal is made of
// numbers that were just read, and names the setting and the next step.
package room

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// Config says what is watched. Dir is required.
type Config struct {
	Dir       string        // on the file system whose free space counts
	MinFree   jobspec.Bytes // free space below which nothing new is taken; 0 = 5 % of the file system, 10 GiB at most
	MaxBlocks jobspec.Bytes // what the block store may hold; 0 = no limit but MinFree
	// GCAt is the part of a limit, in percent, at which garbage is collected;
	// default 90.
	GCAt    int
	GCEvery time.Duration // collects also without pressure; default 1 h
	Stat    func(context.Context) (ipfs.Stat, error)
	// GC removes blocks that no pin needs; nil where that is not the node's
	// to do, as on a Kubo that others use.
	GC func(context.Context) (ipfs.Stat, error)
	// Trim gives back what is only cached, about so many bytes; default none.
	Trim   func(bytes int64)
	Logger *slog.Logger // default: no log
	// Disk returns the size and the free bytes of Dir's file system; default
	// statfs.
	Disk  func(dir string) (size, free jobspec.Bytes, err error)
	Every time.Duration // between two looks of Run; default 10 s
}

// Keeper watches one state directory. Its methods may be called concurrently.
type Keeper struct {
	cfg Config
	log *slog.Logger

	mu    sync.Mutex    // one collection at a time
	last  time.Time     // end of the last one
	pause time.Duration // before the next one under pressure
}

// minPause is between two collections under pressure; it doubles while they
// free nothing.
const minPause = 10 * time.Second

// New returns a Keeper; it does no I/O.
func New(cfg Config) *Keeper {
	cfg.GCAt = cmp.Or(cfg.GCAt, 90)
	cfg.GCEvery = cmp.Or(cfg.GCEvery, time.Hour)
	cfg.Every = cmp.Or(cfg.Every, 10*time.Second)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Disk == nil {
		cfg.Disk = statfs
	}
	return &Keeper{cfg: cfg, log: cfg.Logger, last: time.Now(), pause: minPause}
}

// Admit returns nil when there is room for more bytes. Else it collects garbage, unless
// that was just done, and returns an error of kind E_LIMIT when that does not
// help.
func (k *Keeper) Admit(ctx context.Context, more int64) error {
	err := k.Check(ctx, more)
	if err == nil {
		return nil
	}
	k.collect(ctx, refusing) // or waits for one that runs
	return k.Check(ctx, more)
}

// Check returns an error of kind E_LIMIT when more bytes must not be stored.
func (k *Keeper) Check(ctx context.Context, more int64) error {
	l, err := k.look(ctx)
	if err != nil {
		return err
	}
	next := "make room: ipdc job prune, ipdc pin rm CID, then ipdc node gc; "
	switch {
	case l.free-jobspec.Bytes(more) < l.minFree:
		return jobspec.Failure{
			Kind: jobspec.KindLimit, Where: "disk",
			Detail: fmt.Sprintf("%s has %s free, and nothing new is taken below %s, so that running jobs can end", k.cfg.Dir, human(l.free), human(l.minFree)),
			Hint:   next + "or delete other files there. The mark is ipdc node start --min-free",
		}.Error()
	case k.cfg.MaxBlocks > 0 && l.used+jobspec.Bytes(more) > k.cfg.MaxBlocks:
		return jobspec.Failure{
			Kind: jobspec.KindLimit, Where: "block store",
			Detail: fmt.Sprintf("the block store holds %s, and may hold %s", human(l.used), human(k.cfg.MaxBlocks)),
			Hint:   next + "or raise the limit: ipdc node start --storage-max N",
		}.Error()
	}
	return nil
}

// levels are what is there and what is to be kept.
type levels struct {
	free, minFree jobspec.Bytes
	used          jobspec.Bytes // by blocks; 0 without a limit on them
}

func (k *Keeper) look(ctx context.Context) (l levels, err error) {
	size, free, err := k.cfg.Disk(k.cfg.Dir)
	if err != nil {
		return l, fmt.Errorf("free space of %s: %w", k.cfg.Dir, err)
	}
	l.free, l.minFree = free, cmp.Or(k.cfg.MinFree, min(size/20, 10*jobspec.GiB))
	if k.cfg.MaxBlocks > 0 {
		st, err := k.cfg.Stat(ctx)
		if err != nil {
			return l, err
		}
		l.used = jobspec.Bytes(st.Bytes)
	}
	return l, nil
}

// Storage says how much is free, and the marks.
func (k *Keeper) Storage(ctx context.Context) (wire.Storage, error) {
	l, err := k.look(ctx)
	return wire.Storage{Free: l.free, MinFree: l.minFree, Max: k.cfg.MaxBlocks}, err
}

// pressed says whether a limit is nearly reached.
func (k *Keeper) pressed(l levels) bool {
	at := jobspec.Bytes(k.cfg.GCAt)
	return l.free*at < l.minFree*100 || k.cfg.MaxBlocks > 0 && l.used*100 > k.cfg.MaxBlocks*at
}

// Run collects garbage each Config.GCEvery, and more often while a limit is
// near. It returns nil when ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	tick := time.NewTicker(k.cfg.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		l, err := k.look(ctx)
		switch {
		case err != nil:
			k.log.Warn("look at the disk", "err", err)
		case k.pressed(l):
			k.collect(ctx, pressing)
		default:
			k.collect(ctx, due)
		}
	}
}

// need says how soon after the last collection there may be another.
type need int

const (
	due      need = iota // after Config.GCEvery
	pressing             // after the present pause
	refusing             // after minPause: something is about to be refused
)

// gap is read under k.mu.
func (k *Keeper) gap(n need) time.Duration {
	switch n {
	case pressing:
		return k.pause
	case refusing:
		return minPause
	default:
		return k.cfg.GCEvery
	}
}

// collect collects garbage unless the last time is too short ago. Under
// pressure the cache gives back as much as is missing.
func (k *Keeper) collect(ctx context.Context, n need) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cfg.GC == nil && k.cfg.Trim == nil || time.Since(k.last) < k.gap(n) {
		return
	}
	if l, err := k.look(ctx); err == nil && k.cfg.Trim != nil && l.free*jobspec.Bytes(k.cfg.GCAt) < l.minFree*100 {
		k.cfg.Trim(int64(l.minFree*100/jobspec.Bytes(k.cfg.GCAt) - l.free))
	}
	var freed ipfs.Stat
	var err error
	if k.cfg.GC != nil {
		freed, err = k.cfg.GC(ctx)
	}
	if err != nil && ctx.Err() == nil {
		k.log.Warn("collect garbage", "err", err)
	}
	k.last = time.Now()
	k.pause = min(2*k.pause, k.cfg.GCEvery)
	if freed.Blocks > 0 {
		k.pause = minPause
		k.log.Info("collected garbage", "blocks", freed.Blocks, "bytes", freed.Bytes)
	}
}

func statfs(dir string) (size, free jobspec.Bytes, err error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, 0, err
	}
	return jobspec.Bytes(st.Blocks) * jobspec.Bytes(st.Bsize), jobspec.Bytes(st.Bavail) * jobspec.Bytes(st.Bsize), nil
}

// human writes a size with one decimal.
func human(b jobspec.Bytes) string {
	for _, u := range []struct {
		size jobspec.Bytes
		name string
	}{{jobspec.GiB, "GiB"}, {jobspec.MiB, "MiB"}, {jobspec.KiB, "KiB"}} {
		if b >= u.size {
			return fmt.Sprintf("%.1f %s", float64(b)/float64(u.size), u.name)
		}
	}
	return fmt.Sprintf("%d bytes", b)
}
