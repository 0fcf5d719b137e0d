// Package hostload says how busy a machine is with programs that are not jobs.
//
//	w := hostload.New(hostload.Config{Jobs: []string{"ipdc-"}, Limit: 80})
//	go w.Run(ctx)
//	w.Busy(512 * jobspec.MiB) // "other programs use 1.9 of 2 processors (host-busy is 80 %)"
//
// Programs that live through a whole look count. What jobs cause does not: their
// own processes, the container engine, ipdc itself and the kernel's threads.
// Nor does what a program inherits from children that have ended: the first
// process of a machine inherits that of jobs.
//
// Invariants: Busy does not wait; a machine that cannot be read is not busy.
package hostload

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/procfs"

	"github.com/ipdc/ipdc/jobspec"
)

// Config says what counts and when it is too much.
type Config struct {
	Proc string // default /proc
	// Jobs begin the names of control groups that jobs lie in, of this node or
	// another one. Where they have none of their own, a Watch is no use: they
	// would hold themselves back.
	Jobs []string
	// Limit is the part of all processors, in percent, that other programs may
	// use before the machine is busy; 0 or more than 100 = it never is.
	Limit      int
	Processors int           // default all
	Every      time.Duration // between two looks; default 5 s
}

// A machine is busy after so many looks in a row above the limit, and is so
// until as many were below three quarters of it.
const looks = 4

// second is what the kernel counts processor time in: USER_HZ, which is 100 on
// all machines that Go runs on.
const second = 100

// kthreadd is the parent of the kernel's threads.
const kthreadd = 2

// Watch looks at one machine. Its methods may be called concurrently.
type Watch struct {
	cfg   Config
	last  map[int]life
	at    time.Time
	above int // looks in a row on the other side of the mark
	busy  atomic.Pointer[string]
}

// life is what a process has used so far, in 1/second. Began tells it from
// another one of the same number.
type life struct {
	began uint64
	used  uint64
}

// New returns a Watch that has not looked yet.
func New(cfg Config) *Watch {
	cfg.Proc = cmp.Or(cfg.Proc, procfs.DefaultMountPoint)
	cfg.Processors = cmp.Or(cfg.Processors, runtime.NumCPU())
	cfg.Every = cmp.Or(cfg.Every, 5*time.Second)
	return &Watch{cfg: cfg}
}

// Busy says with numbers why the machine has nothing to spare for a task of so
// much memory; "" when it has.
func (w *Watch) Busy(memory jobspec.Bytes) string {
	if why := w.Used(); why != "" || w.off() {
		return why
	}
	return w.short(memory)
}

// Used says with numbers that other programs have used the machine for some
// looks now; "" when they have not. Memory has no part in it.
func (w *Watch) Used() string {
	if why := w.busy.Load(); why != nil {
		return *why
	}
	return ""
}

func (w *Watch) off() bool { return w.cfg.Limit <= 0 || w.cfg.Limit > 100 }

// Run looks until ctx ends.
func (w *Watch) Run(ctx context.Context) {
	if w.off() {
		return
	}
	tick := time.NewTicker(w.cfg.Every)
	defer tick.Stop()
	for {
		w.Look(time.Now())
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Look reads the machine once. It is for one goroutine.
func (w *Watch) Look(now time.Time) {
	lives, used, err := w.read()
	since := now.Sub(w.at)
	first := w.last == nil
	w.last, w.at = lives, now
	if err != nil {
		w.above = 0
		w.busy.Store(nil)
	}
	if err != nil || first || since <= 0 {
		return
	}
	w.judge(float64(used) / second / since.Seconds())
}

// judge is given the processors that other programs used since the last look.
func (w *Watch) judge(used float64) {
	mark := float64(w.cfg.Processors*w.cfg.Limit) / 100
	busy := w.busy.Load() != nil
	if busy {
		mark *= 0.75
	}
	if busy == (used >= mark) {
		w.above = 0
	} else if w.above++; w.above >= looks {
		w.above, busy = 0, !busy
	}
	if !busy {
		w.busy.Store(nil)
		return
	}
	why := fmt.Sprintf("other programs use %.1f of %d processors (host-busy is %d %%)", used, w.cfg.Processors, w.cfg.Limit)
	w.busy.Store(&why)
}

// read returns what each process has used, and what those that count used since
// the last look.
func (w *Watch) read() (lives map[int]life, used uint64, err error) {
	fs, err := procfs.NewFS(w.cfg.Proc)
	if err != nil {
		return nil, 0, err
	}
	all, err := fs.AllProcs()
	if err != nil {
		return nil, 0, err
	}
	lives = make(map[int]life, len(all))
	for _, p := range all {
		s, err := p.Stat()
		if err != nil || s.Comm == "ipdc" || p.PID == kthreadd || s.PPID == kthreadd || engine(s.Comm) {
			continue // it may have ended
		}
		l := life{s.Starttime, uint64(s.UTime) + uint64(s.STime)}
		lives[p.PID] = l
		if was, ok := w.last[p.PID]; ok && was.began == l.began && l.used > was.used && !w.job(p) {
			used += l.used - was.used
		}
	}
	return lives, used, nil
}

// engine says whether a process belongs to a container engine, whose work is for
// jobs. The kernel cuts names after 15 bytes.
func engine(comm string) bool {
	for _, name := range []string{"dockerd", "containerd", "docker-proxy", "runc", "runsc"} {
		if strings.HasPrefix(comm, name) {
			return true
		}
	}
	return false
}

func (w *Watch) job(p procfs.Proc) bool {
	groups, err := p.Cgroups()
	if err != nil {
		return true
	}
	for _, g := range groups {
		for name := range strings.SplitSeq(g.Path, "/") {
			if slices.ContainsFunc(w.cfg.Jobs, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
				return true
			}
		}
	}
	return false
}

// short says why a task may not have so much memory now; "" when it may. A
// twentieth of the machine's stays free, as the kernel reckons what is.
func (w *Watch) short(memory jobspec.Bytes) string {
	fs, err := procfs.NewFS(w.cfg.Proc)
	if err != nil {
		return ""
	}
	info, err := fs.Meminfo()
	if err != nil || info.MemAvailableBytes == nil || info.MemTotalBytes == nil {
		return ""
	}
	free, keep := jobspec.Bytes(*info.MemAvailableBytes), jobspec.Bytes(*info.MemTotalBytes/20)
	if free >= memory+keep {
		return ""
	}
	return fmt.Sprintf("a task asks for %s of memory, and the machine has %s available, of which it keeps %s", memory, whole(free), whole(keep))
}

func whole(b jobspec.Bytes) jobspec.Bytes { return b / jobspec.MiB * jobspec.MiB }
