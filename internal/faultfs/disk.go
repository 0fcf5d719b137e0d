package faultfs

import (
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// disk is the state behind all nodes.
type disk struct {
	mu     sync.Mutex // guards all below, and what the nodes hold
	root   *dir
	faults []*Fault
	hits   int
	held   chan struct{} // closed when those of a Hold go on
	left   int           // syncs until the power goes; -1 = it stays
	dead   bool          // it went
	last   uint64
}

func mount(at string) (*fuse.Server, *disk, error) {
	k := &disk{held: make(chan struct{}), left: -1, last: 1}
	k.root = newDir(k, 0o755)
	zero := time.Duration(0)
	server, err := fs.Mount(at, k.root, &fs.Options{
		AttrTimeout: &zero, EntryTimeout: &zero,
		MountOptions: fuse.MountOptions{DirectMountStrict: true, FsName: "faultfs", Name: "faultfs", MaxWrite: 1 << 20},
	})
	return server, k, err
}

func (k *disk) serve(r request) (a answer) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch r.Do {
	case "fail":
		k.faults = append(k.faults, &r.Fault)
	case "release":
		k.release()
	case "mend":
		k.release()
		k.faults, k.left, k.dead, k.hits = nil, -1, false, 0
	case "cut":
		k.left, k.dead = r.Count, false
	case "hits":
		a.Count = k.hits
	case "lose":
		if err := k.lose(r.To, r.Seed); err != nil {
			a.Err = err.Error()
		}
	default:
		a.Err = "unknown request"
	}
	return a
}

// begin locks the disk for an operation on a path, unless that is to fail.
// Without an error the caller unlocks it.
func (k *disk) begin(op Op, path string) syscall.Errno {
	k.mu.Lock()
	f := k.fault(op, path)
	if f != nil && f.Hold {
		held := k.held
		k.mu.Unlock()
		<-held
		k.mu.Lock()
	}
	errno := syscall.Errno(0)
	if f != nil {
		errno = f.Errno
	}
	if op == Sync && k.left == 0 {
		k.dead = true
	}
	if k.dead && op != Read {
		errno = syscall.EIO
		k.hits++
	}
	if op == Sync && k.left > 0 && errno == 0 {
		k.left--
	}
	if errno != 0 {
		k.mu.Unlock()
	}
	return errno
}

// release ends the faults that hold operations, and lets those go on.
func (k *disk) release() {
	k.faults = slices.DeleteFunc(k.faults, func(f *Fault) bool { return f.Hold })
	close(k.held)
	k.held = make(chan struct{})
}

// fault returns the one that meets an operation, if any.
func (k *disk) fault(op Op, path string) *Fault {
	for _, f := range k.faults {
		meets := f.Op == op || f.Op == Change && op != Read && op != Sync
		if !meets || !strings.Contains(path, f.Name) {
			continue
		}
		if f.Skip > 0 {
			f.Skip--
			return nil
		}
		k.hits++
		return f
	}
	return nil
}

// uncached says whether reads of a path must come here each time.
func (k *disk) uncached(path string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, f := range k.faults {
		if f.Op == Read && strings.Contains(path, f.Name) {
			return true
		}
	}
	return false
}

func (k *disk) inode() uint64 { k.last++; return k.last }
