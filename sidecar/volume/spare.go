package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/ipdc/ipdc/internal/failpoint"
)

// sparePrefix begins the names of volumes that no attempt has yet.
const sparePrefix = "spare-"

// spares are volumes that were made before somebody asks for them: making a
// file system takes longer than all else between a lease and its container.
// All have the bounds that were asked for last.
type spares struct {
	want int // how many are kept
	ctx  context.Context
	stop context.CancelFunc
	work sync.WaitGroup

	mu     sync.Mutex
	shape  record // Size and Inodes
	ready  []string
	making bool
	serial int
}

// takeSpare turns a spare into the volume name, or returns false when there is
// none of these bounds.
func (p *Pool) takeSpare(name string, r record) (bool, error) {
	s := &p.spares
	s.mu.Lock()
	same := s.shape.Size == r.Size && s.shape.Inodes == r.Inodes
	s.shape.Size, s.shape.Inodes = r.Size, r.Inodes
	if !same || len(s.ready) == 0 {
		s.mu.Unlock()
		return false, nil
	}
	spare := s.ready[len(s.ready)-1]
	s.ready = s.ready[:len(s.ready)-1]
	s.mu.Unlock()
	vol := p.paths(spare)
	err := errors.Join(os.Chown(vol.Outputs, r.UID, r.UID), os.Chown(vol.Report, r.UID, r.UID), p.writeRecord(spare, r))
	failpoint.Hit("volume.after-effect")
	if err == nil { // a mount moves with the directory above it
		err = os.Rename(filepath.Join(p.dir, spare), filepath.Join(p.dir, name))
	}
	if err != nil {
		return false, fmt.Errorf("use a spare volume: %w", errors.Join(err, p.remove(context.WithoutCancel(s.ctx), spare)))
	}
	return true, nil
}

// refill makes spares in the background. It is called when an attempt's volume
// was removed: then nobody waits.
func (p *Pool) refill() {
	s := &p.spares
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.want <= 0 || p.method != MethodExt4 || s.making || s.shape.Size == 0 || s.ctx.Err() != nil {
		return
	}
	s.making = true
	s.work.Go(func() {
		for p.makeSpare() {
		}
	})
}

// makeSpare makes one spare, or removes one of other bounds; it returns false
// when there is nothing left to do.
func (p *Pool) makeSpare() bool {
	s := &p.spares
	s.mu.Lock()
	shape, drop := s.shape, s.stale()
	if s.ctx.Err() != nil || drop == "" && len(s.ready) >= s.want {
		s.making = false
		s.mu.Unlock()
		return false
	}
	s.serial++
	name := fmt.Sprintf("%s%dx%d-%d", sparePrefix, shape.Size, shape.Inodes, s.serial)
	s.mu.Unlock()
	if drop != "" {
		if err := p.remove(s.ctx, drop); err != nil {
			p.log.Warn("remove spare volume", "name", drop, "err", err)
		}
		return true
	}
	err := p.form(s.ctx, name, record{Size: shape.Size, Inodes: shape.Inodes, UID: os.Getuid(), Method: p.method})
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.ready = append(s.ready, name)
		return true
	}
	s.making = false
	if s.ctx.Err() == nil {
		p.log.Warn("make spare volume", "err", errors.Join(err, p.remove(s.ctx, name)))
	}
	return false
}

// stale takes a spare of other bounds than those wanted off the list.
func (s *spares) stale() string {
	prefix := fmt.Sprintf("%s%dx%d-", sparePrefix, s.shape.Size, s.shape.Inodes)
	for i, name := range s.ready {
		if !strings.HasPrefix(name, prefix) {
			s.ready = append(s.ready[:i:i], s.ready[i+1:]...)
			return name
		}
	}
	return ""
}

// dropSpares removes all spares, those of earlier processes too.
func (p *Pool) dropSpares(ctx context.Context) error {
	entries, err := os.ReadDir(p.dir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), sparePrefix) {
			err = errors.Join(err, p.remove(ctx, e.Name()))
		}
	}
	return err
}

// Close removes the volumes that no attempt has; those of attempts stay.
// Calling it twice is safe.
func (p *Pool) Close() error {
	p.spares.stop()
	p.spares.work.Wait()
	p.spares.mu.Lock()
	defer p.spares.mu.Unlock()
	p.spares.ready = nil
	if err := p.dropSpares(context.Background()); err != nil {
		return fmt.Errorf("close volumes: %w", err)
	}
	return nil
}
