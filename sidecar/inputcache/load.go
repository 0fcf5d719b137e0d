package inputcache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ipdc/ipdc/internal/durable"
	"github.com/ipdc/ipdc/internal/rmtree"
	"github.com/ipdc/ipdc/jobspec"
)

// bootName is the file that says under which start of the machine the entries
// were staged.
const bootName = ".boot"

// load enters what is on disk in the order of use, and removes the rest.
func (c *Cache) load(ctx context.Context) error {
	boot := bootID()
	last, err := os.ReadFile(filepath.Join(c.cfg.Dir, bootName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	names, err := os.ReadDir(c.cfg.Dir)
	if err != nil {
		return err
	}
	var found []foundItem
	for _, d := range names {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if d.Name() == bootName {
			continue
		}
		it, err := c.read(d.Name())
		if err == nil && string(last) == boot {
			found = append(found, it)
			continue
		}
		c.log.Debug("remove leftover input", "name", d.Name(), "why", err)
		if err := rmtree.Remove(filepath.Join(c.cfg.Dir, d.Name())); err != nil {
			return err
		}
	}
	slices.SortFunc(found, func(a, b foundItem) int { return a.used.Compare(b.used) })
	for _, f := range found {
		f.brief = c.cfg.Brief(ctx, f.cid)
		c.add(f.item)
	}
	if string(last) == boot {
		return nil // a write may fail, and lose what runs on its inputs
	}
	return durable.WriteFile(filepath.Join(c.cfg.Dir, bootName), []byte(boot), 0o600)
}

type foundItem struct {
	*item
	used time.Time
}

// read finds out about an entry that an earlier process left.
func (c *Cache) read(name string) (f foundItem, err error) {
	root, err := jobspec.ParseCID(name)
	if err != nil || root.String() != name {
		return f, fmt.Errorf("%q is not a CID", name)
	}
	text, err := os.ReadFile(filepath.Join(c.dir(root), sizeName))
	if err != nil {
		return f, err
	}
	bytes, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		return f, fmt.Errorf("size of input %s: %w", root, err)
	}
	info, err := os.Stat(c.dir(root))
	if err == nil {
		_, err = os.Stat(c.data(root))
	}
	if err != nil {
		return f, err
	}
	return foundItem{&item{cid: root, bytes: bytes, old: true}, info.ModTime()}, nil
}

// bootID changes with each start of the machine; "" where it is unknown.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
