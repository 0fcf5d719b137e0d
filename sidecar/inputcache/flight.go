package inputcache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/ipdc/ipdc/internal/rmtree"
	"github.com/ipdc/ipdc/jobspec"
)

// flight is a staging under way.
type flight struct {
	root    jobspec.CID
	cancel  context.CancelCauseFunc
	waiters int           // under Cache.mu; each has a use of the entry when the flight lands
	done    chan struct{} // closed by land, after item and err are set
	item    *item
	err     error
}

// errAlone cancels a staging that nobody waits for any more.
var errAlone = errors.New("nobody waits for the input")

// join returns the flight of root with one more waiter, and starts it when
// there is none; c.mu is held. A flight outlives the context it was started
// with.
func (c *Cache) join(ctx context.Context, root jobspec.CID) *flight {
	if f := c.flights[root]; f != nil {
		f.waiters++
		return f
	}
	f := &flight{root: root, waiters: 1, done: make(chan struct{})}
	ctx, f.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	c.flights[root] = f
	temp := c.temp()
	c.work.Go(func() {
		defer f.cancel(nil)
		bytes, err := c.stage(ctx, root, temp)
		brief := err == nil && c.cfg.Brief(ctx, root)
		c.discard(c.land(f, temp, &item{cid: root, bytes: bytes, brief: brief}, err))
	})
	return f
}

// leave takes a waiter off a flight, and cancels it with the last one. It
// returns false when the flight has landed meanwhile.
func (c *Cache) leave(f *flight) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flights[f.root] != f {
		return false
	}
	if f.waiters--; f.waiters == 0 {
		delete(c.flights, f.root) // who comes now starts anew
		f.cancel(errAlone)
	}
	return true
}

// stage writes the input and its size below temp.
func (c *Cache) stage(ctx context.Context, root jobspec.CID, temp string) (bytes int64, err error) {
	if err := os.Mkdir(temp, 0o700); err != nil {
		return 0, err
	}
	data := filepath.Join(temp, dataName)
	if bytes, err = c.cfg.Stage(ctx, root, data); err != nil {
		return 0, err
	}
	if err := protect(data); err != nil {
		return 0, err
	}
	if err := os.WriteFile(filepath.Join(temp, sizeName), strconv.AppendInt(nil, bytes, 10), 0o600); err != nil {
		return 0, err
	}
	return bytes, context.Cause(ctx)
}

// protect makes sure that nobody can write and everybody can read what is
// below dir: a container's user is never the owner.
func protect(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&fs.ModeSymlink != 0 {
			return err
		}
		mode := fs.FileMode(0o444)
		if d.IsDir() {
			mode = 0o555
		}
		info, err := d.Info()
		if err != nil || info.Mode().Perm() == mode {
			return err
		}
		return os.Chmod(path, mode)
	})
}

// land gives what a flight staged its name, and wakes who waits. It returns
// what is to be removed.
func (c *Cache) land(f *flight, temp string, it *item, err error) (gone []string) {
	if err != nil {
		err = errors.Join(err, rmtree.Remove(temp))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	defer close(f.done)
	if c.flights[f.root] != f { // all waiters left
		f.err = errAlone
		return []string{temp}
	}
	delete(c.flights, f.root)
	if err == nil {
		if err = os.Rename(temp, c.dir(f.root)); err != nil {
			err = fmt.Errorf("name staged input: %w", err)
			gone = append(gone, temp)
		}
	}
	if f.err = err; err != nil {
		return gone
	}
	it.users = f.waiters
	f.item = it
	c.add(it)
	return c.evict(c.cfg.MaxBytes)
}

// add enters an item as the one used last; c.mu is held.
func (c *Cache) add(it *item) {
	it.place = c.recent.PushFront(it)
	c.entries[it.cid] = it
	c.bytes += it.bytes
	if it.brief {
		c.brief++
	}
}

// drop forgets an item; c.mu is held.
func (c *Cache) drop(it *item) {
	c.recent.Remove(it.place)
	delete(c.entries, it.cid)
	c.bytes -= it.bytes
	if it.brief {
		c.brief--
	}
}
