// Package volume makes the bounded directories that tasks write their outputs
// to. As root they are small ext4 file systems in sparse files, so that the
// kernel itself refuses what is over the bounds; elsewhere they are plain
// directories that a watchdog measures.
//
//	pool, err := volume.Open(ctx, volume.Config{Dir: dir})
//	vol, err := pool.Create(ctx, attempt.String(), 1<<30, 10_000, uid) // mount vol.Outputs, vol.Report
//	err = pool.ReadOnly(ctx, attempt.String())                         // fails while something may write
//	err = pool.Remove(ctx, attempt.String())
//
// Invariants: what a task writes never takes more of the host's disk than its
// bounds plus a fixed overhead; a volume survives the process that made it and
// is found again by its name; one that was complete is never replaced by an
// empty one; what Remove was called for leaves no mount, loop device or file.
// Calls for different names may run at the same time, calls for one name must
// not overlap.
package volume

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ipdc/ipdc/internal/failpoint"
	"github.com/ipdc/ipdc/internal/rmtree"
	"github.com/ipdc/ipdc/jobspec"
)

// The methods of bounding a volume.
const (
	MethodExt4     = "ext4"     // a file system of its own; writes over the bounds fail with ENOSPC
	MethodWatchdog = "watchdog" // a plain directory; [Pool.Watch] reports what is over the bounds
)

// Config is what a pool is made of.
type Config struct {
	Dir    string        // holds the volumes and nothing else; made with mode 0700
	Method string        // default ext4 where it works, else watchdog
	Spares int           // volumes that are kept ready before they are asked for, with ext4; default none
	Poll   time.Duration // between two measurements of the watchdog; default 250 ms
	Logger *slog.Logger  // default slog.Default
}

// Pool holds the volumes below one directory.
type Pool struct {
	dir    string
	method string
	poll   time.Duration
	log    *slog.Logger
	spares spares
	molds  mold
}

// Volume names the directories of a volume. Both belong to the volume's user
// and are closed to all others.
type Volume struct {
	Outputs string // becomes /outputs
	Report  string // holds the guest's report
}

// Open makes Config.Dir where it is missing and finds out which method works
// here. Volumes of earlier processes stay.
func Open(ctx context.Context, cfg Config) (*Pool, error) {
	p := &Pool{dir: cfg.Dir, method: cfg.Method, poll: cfg.Poll, log: cfg.Logger}
	if p.log == nil {
		p.log = slog.Default()
	}
	if p.poll <= 0 {
		p.poll = 250 * time.Millisecond
	}
	var err error
	if p.dir, err = filepath.Abs(p.dir); err != nil {
		return nil, fmt.Errorf("open volumes: %w", err)
	}
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return nil, fmt.Errorf("open volumes: %w", err)
	}
	// mountinfo and statfs know the real path only.
	if p.dir, err = filepath.EvalSymlinks(p.dir); err != nil {
		return nil, fmt.Errorf("open volumes: %w", err)
	}
	if err := os.Chmod(p.dir, 0o700); err != nil {
		return nil, fmt.Errorf("open volumes: %w", err)
	}
	if err := p.dropSpares(ctx); err != nil {
		return nil, fmt.Errorf("open volumes: %w", err)
	}
	p.spares.want = cfg.Spares
	p.spares.ctx, p.spares.stop = context.WithCancel(context.WithoutCancel(ctx)) // until Close
	return p, p.choose(ctx)
}

// probe is the name of the volume that Open tries; no attempt has it.
const probe = "probe"

func (p *Pool) choose(ctx context.Context) error {
	switch p.method {
	case MethodWatchdog:
		return nil
	case MethodExt4, "":
	default:
		return fmt.Errorf("open volumes: unknown method %q", p.method)
	}
	err := p.remove(ctx, probe)
	if err == nil {
		err = p.build(ctx, probe, record{Size: jobspec.MiB, Inodes: 16, UID: 1, Method: MethodExt4})
	}
	err = errors.Join(err, p.remove(ctx, probe))
	if err != nil && p.method == MethodExt4 {
		return fmt.Errorf("open volumes: %w", err)
	}
	p.method = MethodExt4
	if err != nil {
		p.method = MethodWatchdog
		p.log.Warn("outputs are bounded by a watchdog only", "err", err)
	}
	return nil
}

// Method returns how new volumes are bounded: "ext4" or "watchdog".
func (p *Pool) Method() string { return p.method }

// record is the row of a volume, written once the volume is complete.
type record struct {
	Size   jobspec.Bytes `json:"size"`
	Inodes int64         `json:"inodes"`
	UID    int           `json:"uid"`
	Method string        `json:"method"`
	Boot   string        `json:"boot"` // of the kernel that had it mounted
}

// Create makes the volume of an attempt, or returns the one it has, with its
// contents, whichever process made it. At least size bytes in inodes files and
// directories fit. uid, never 0, is its user and group.
//
// The error is of kind lost when the volume was made before the machine was
// started last: what was written to it may be incomplete.
func (p *Pool) Create(ctx context.Context, name string, size jobspec.Bytes, inodes int64, uid int) (Volume, error) {
	if err := check(name); err != nil {
		return Volume{}, err
	}
	if size <= 0 || inodes <= 0 || uid <= 0 {
		return Volume{}, fmt.Errorf("create volume %s: %d bytes, %d inodes, uid %d: each must be positive", name, size, inodes, uid)
	}
	_, err := p.find(name)
	if errors.Is(err, fs.ErrNotExist) {
		if err = p.remove(ctx, name); err == nil { // of a process that was killed in build
			failpoint.Hit("volume.before-effect")
			err = p.make(ctx, name, record{Size: size, Inodes: inodes, UID: uid, Method: p.method})
		}
		if err != nil {
			err = errors.Join(err, p.remove(ctx, name))
		}
	}
	if err != nil {
		return Volume{}, fmt.Errorf("create volume %s: %w", name, err)
	}
	return p.paths(name), nil
}

func (p *Pool) paths(name string) Volume {
	return Volume{Outputs: filepath.Join(p.root(name), "outputs"), Report: filepath.Join(p.root(name), "report")}
}

// root is the top of the volume itself, image the file behind it, and
// recordFile says that the volume is complete.
func (p *Pool) root(name string) string       { return filepath.Join(p.dir, name, "mnt") }
func (p *Pool) image(name string) string      { return filepath.Join(p.dir, name, "image") }
func (p *Pool) recordFile(name string) string { return filepath.Join(p.dir, name, "volume.json") }

// find returns the record of a complete volume that can be used.
func (p *Pool) find(name string) (record, error) {
	var r record
	b, err := os.ReadFile(p.recordFile(name))
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("read volume record: %w", err)
	}
	usable := r.Boot == bootID()
	if r.Method == MethodExt4 {
		mounted, err := isMounted(p.root(name))
		if err != nil {
			return r, err
		}
		usable = usable && mounted
	}
	if !usable {
		return r, jobspec.KindLost.Errorf("the outputs of attempt %s were lost when the machine was restarted", name)
	}
	return r, nil
}

// make takes a spare volume, or makes one.
func (p *Pool) make(ctx context.Context, name string, r record) error {
	r.Boot = bootID()
	if ok, err := p.takeSpare(name, r); ok || err != nil {
		return err
	}
	return p.build(ctx, name, r)
}

func (p *Pool) build(ctx context.Context, name string, r record) error {
	if err := p.form(ctx, name, r); err != nil {
		return err
	}
	if name != probe {
		failpoint.Hit("volume.after-effect")
	}
	return p.writeRecord(name, r)
}

// form makes all of a volume but the record, which says that it is complete.
func (p *Pool) form(ctx context.Context, name string, r record) error {
	if err := os.MkdirAll(p.root(name), 0o700); err != nil {
		return err
	}
	if r.Method == MethodExt4 {
		if err := mountImage(ctx, &p.molds, p.image(name), p.root(name), r.Size, r.Inodes); err != nil {
			return err
		}
	}
	vol := p.paths(name)
	for _, dir := range []string{vol.Outputs, vol.Report} {
		if err := makeOwned(dir, r.UID); err != nil {
			return err
		}
	}
	return nil
}

func (p *Pool) writeRecord(name string, r record) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	tmp := p.recordFile(name) + ".new"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, p.recordFile(name)) // not synced: what the power takes it takes the container, too
}

// makeOwned makes a directory for the user only. A process that is not root
// cannot give it away; it then opens it to all, below parents that are closed.
func makeOwned(dir string, uid int) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return os.Chmod(dir, 0o777)
	}
	return os.Chown(dir, uid, uid)
}

// ReadOnly makes the volume read-only for everybody. With ext4 it fails while
// a file is open for writing; call it when no process of the task is left.
func (p *Pool) ReadOnly(ctx context.Context, name string) error {
	r, err := p.find(name)
	if err == nil && r.Method == MethodExt4 {
		err = remountReadOnly(p.root(name))
	}
	if err != nil {
		return fmt.Errorf("make volume %s read-only: %w", name, err)
	}
	return ctx.Err()
}

// Remove removes the volume with all it holds. Without such a volume it does
// nothing. A volume that something still uses is detached and vanishes with
// its last user.
func (p *Pool) Remove(ctx context.Context, name string) error {
	if err := check(name); err != nil {
		return err
	}
	if err := p.remove(ctx, name); err != nil {
		return fmt.Errorf("remove volume %s: %w", name, err)
	}
	p.refill()
	return nil
}

func (p *Pool) remove(ctx context.Context, name string) error {
	if err := unmount(ctx, p.root(name), p.log); err != nil {
		return err
	}
	return rmtree.Remove(filepath.Join(p.dir, name))
}

// List returns the names of all volumes, complete or not, of whatever process.
func (p *Pool) List(context.Context) ([]string, error) {
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	var names []string
	for _, e := range entries {
		if check(e.Name()) == nil {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// check refuses names that are not attempt ids: they become paths.
func check(name string) error {
	id, err := jobspec.ParseAttemptID(name)
	if err != nil || id.String() != name {
		return fmt.Errorf("volume: %q is not the id of an attempt", name)
	}
	return nil
}

// bootID changes with each start of the machine; "" where it is unknown.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
