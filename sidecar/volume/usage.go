package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipdc/ipdc/jobspec"
)

// fullBelow is how many free bytes count as none: a program that failed with
// ENOSPC leaves up to a write of its own size, and what the guest keeps for its
// last report.
const fullBelow = 128 << 10

// maxLevels is where the watchdog stops to look: deeper trees count as over
// the bounds, no output may be that deep.
const maxLevels = 128

// Full says whether the volume has reached one of its bounds, so that a
// program's failure is explained by it.
func (p *Pool) Full(ctx context.Context, name string) (bool, error) {
	r, err := p.find(name)
	if err != nil {
		return false, fmt.Errorf("measure volume %s: %w", name, err)
	}
	if r.Method == MethodExt4 {
		var st unix.Statfs_t
		if err := unix.Statfs(p.root(name), &st); err != nil {
			return false, fmt.Errorf("measure volume %s: %w", name, err)
		}
		return st.Bavail*uint64(st.Bsize) < fullBelow || st.Ffree == 0, nil
	}
	u, err := measure(ctx, p.root(name), r)
	if err != nil {
		return false, fmt.Errorf("measure volume %s: %w", name, err)
	}
	return u.over, nil
}

// Watch blocks until ctx ends, and then returns nil, or until the volume is
// over its bounds, and then returns an error of kind E_QUOTA: the caller kills
// the task. With ext4 the kernel keeps the bounds, and Watch only waits.
func (p *Pool) Watch(ctx context.Context, name string) error {
	r, err := p.find(name)
	if err != nil {
		return fmt.Errorf("watch volume %s: %w", name, err)
	}
	if r.Method == MethodExt4 {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(p.poll)
	defer tick.Stop()
	for {
		u, err := measure(ctx, p.root(name), r)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("watch volume %s: %w", name, err)
		case u.over:
			return jobspec.Failure{
				Kind:   jobspec.KindQuota,
				Detail: fmt.Sprintf("/outputs is full: %d bytes in %d files of at most %d bytes in %d files", u.bytes, u.inodes, r.Size, r.Inodes),
			}.Error()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// usage is what a plain directory holds; counting stops when it is over.
type usage struct {
	bytes, inodes int64
	over          bool
	links         map[uint64]bool // files with several names, counted once
}

var errOver = errors.New("over the bounds")

// measure counts the blocks that are really taken: a sparse file is small. The
// program goes on meanwhile, so whatever vanishes is left out, and no link is
// followed out of the volume.
func measure(ctx context.Context, dir string, r record) (usage, error) {
	u := usage{inodes: -3, links: map[uint64]bool{}} // the volume's own three directories
	root, err := os.OpenRoot(dir)
	if err != nil {
		return u, err
	}
	defer root.Close()
	err = fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, fs.ErrPermission) {
			u.over = true // what is hidden from the watchdog is not allowed
			return errOver
		}
		if err != nil {
			return nil // gone meanwhile
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		u.count(info)
		u.over = u.bytes > int64(r.Size) || u.inodes > r.Inodes || strings.Count(path, "/") > maxLevels
		if u.over {
			return errOver
		}
		return nil
	})
	if err != nil && !errors.Is(err, errOver) {
		return u, err
	}
	return u, nil
}

func (u *usage) count(info fs.FileInfo) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if ok && st.Nlink > 1 && !info.IsDir() {
		if u.links[st.Ino] {
			return
		}
		u.links[st.Ino] = true
	}
	u.inodes++
	if ok && !info.IsDir() {
		u.bytes += st.Blocks * 512
	}
}
