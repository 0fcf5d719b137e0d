package sidecar

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/inputcache"
)

// Attached is CAR files whose blocks are read where they lie.
type Attached interface {
	// Empty says whether there is none.
	Empty() bool
	// Has says whether a block is read from one of them.
	Has(c jobspec.CID) bool
	// File opens the one that is a CAR of root and of nothing else; nil for
	// none. The caller closes it.
	File(root jobspec.CID) (*os.File, error)
}

// unattached is for a node without such files.
type unattached struct{}

func (unattached) Empty() bool                        { return true }
func (unattached) Has(jobspec.CID) bool               { return false }
func (unattached) File(jobspec.CID) (*os.File, error) { return nil, nil }

// lookBlocks is how much of an input is looked at to find out where it lies.
const lookBlocks = 64

var errLooked = errors.New("enough was seen")

// ReadsAttached says whether what lies below c is read from attached files: c
// itself, or one of the first blocks below it.
func ReadsAttached(ctx context.Context, g ipfs.Getter, a Attached, c jobspec.CID) bool {
	switch {
	case a.Empty():
		return false
	case a.Has(c):
		return true
	}
	found, seen := false, 0
	_ = tree.Outline(ctx, g, c, ipfs.Budget{}, func(e tree.Entry) error { // what cannot be read is not attached
		found = e.Kind != tree.Symlink && a.Has(e.CID)
		if seen++; found || seen >= lookBlocks {
			return errLooked
		}
		return nil
	})
	return found
}

// batchShare is the part of an attached input, in percent, that may lie on this
// disk a second time while its items are run.
const batchShare = 4

// attachedBatch is how many bytes of items a task gets of an input that lies in
// attached files: what the tasks of all slots have staged stays below batchShare,
// with some room for files of different sizes.
func attachedBatch(items []jobspec.Item, slots int) int64 {
	var total int64
	for _, it := range items {
		total += it.Size
	}
	return max(total/100*batchShare/int64(max(slots, 1)+1), int64(jobspec.MiB))
}

// attachedItems says whether items are read from attached files of this node.
func (s *Sidecar) attachedItems(ctx context.Context, items []jobspec.Item) bool {
	for i, it := range items {
		if i == lookBlocks {
			return false
		}
		if ReadsAttached(ctx, s.cfg.IPFS, s.cfg.Attached, it.CID) {
			return true
		}
	}
	return false
}

// small deals the items of a plan that stays here into batches with directories
// of their own, which are staged, run and removed one after the other, where
// they lie in attached files: these are not to lie on this disk a second time.
func (d *driver) small(ctx context.Context, job jobspec.Job, plan jobspec.Plan, slots int) (jobspec.Plan, error) {
	items := allItems(plan)
	if job.Spec.Run.Per != jobspec.PerItem || job.Spec.Split.By != jobspec.SplitAuto || job.Spec.Split.Into > 0 || d.cfg.Attached.Empty() || !d.attachedItems(ctx, items) {
		return plan, nil
	}
	for i, batch := range jobspec.BatchesOf(job.Spec, items, slots, attachedBatch(items, slots)) {
		if i == 0 {
			plan.Tasks = nil
		}
		plan.Tasks = append(plan.Tasks, jobspec.Task{Items: batch, Bytes: bytesOf(batch)})
	}
	return d.ownDirectories(ctx, job, plan)
}

func bytesOf(items []jobspec.Item) (total int64) {
	for _, it := range items {
		total += it.Size
	}
	return total
}

// carDir is the directory in an attempt's own in which an attached file is shown.
const carDir = "car"

func (s *Sidecar) carPath(id jobspec.AttemptID) string {
	return filepath.Join(s.runDir(id), carDir, inputcache.CAR)
}

// showFile makes an attached file that is the task's input the file that its
// container is shown, without a copy. It returns false when there is none, or
// when this process may not mount.
func (r *runner) showFile() (bool, error) {
	f, err := r.cfg.Attached.File(r.task.Shard)
	if f == nil || err != nil {
		return false, err
	}
	defer f.Close()
	at := r.carPath(r.att.ID)
	if err := bindFile(f, at); errors.Is(err, unix.EPERM) {
		r.log.Info("an attached CAR is copied, as this node may not mount it", "file", f.Name(), "err", err)
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("show attached file %s: %w", f.Name(), err)
	}
	r.input.Path = filepath.Dir(at)
	return true, nil
}

// fileStill refuses what a program made of an attached file that is another one
// now than when it was mounted.
func (r *runner) fileStill() error {
	at := r.carPath(r.att.ID)
	shown, err := os.Stat(at)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	f, err := r.cfg.Attached.File(r.task.Shard)
	if f != nil {
		defer f.Close()
		now, serr := f.Stat()
		if serr == nil && os.SameFile(shown, now) {
			return nil
		}
		err = errors.Join(err, serr)
	}
	if err != nil {
		return err
	}
	return jobspec.Failure{
		Kind: jobspec.KindBlockHash, Where: "inputs[0]",
		Detail: fmt.Sprintf("the attached file with %s changed while the program read it", r.task.Shard),
		Hint:   "see its state: ipdc data list; then run the job again: ipdc job rerun",
	}.Error()
}

// bindFile mounts an open file, read-only, at a path in a directory of this
// node's own. The mount is of that very file, whatever its path leads to by now.
// One that is there already is left as it is, and nothing where it may not mount.
func bindFile(f *os.File, at string) error {
	if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
		return err
	}
	if err := os.Chmod(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	want, err := f.Stat()
	if err != nil {
		return err
	}
	if st, err := os.Lstat(at); err == nil && os.SameFile(st, want) {
		return nil
	}
	spot, err := os.OpenFile(at, os.O_CREATE|os.O_WRONLY|unix.O_NOFOLLOW, 0o400)
	if err != nil {
		return err
	}
	if err := spot.Close(); err != nil {
		return err
	}
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), at, "", unix.MS_BIND, ""); err != nil {
		return errors.Join(fmt.Errorf("mount: %w", err), os.Remove(at)) // fileStill takes what is there for the mount
	}
	const flags = unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount("", at, "", flags, ""); err != nil {
		return errors.Join(fmt.Errorf("mount read-only: %w", err), unbindFile(at))
	}
	return nil
}

// unbindFile takes such a mount away, and does nothing where there is none. What
// still uses it keeps it.
func unbindFile(at string) error {
	err := unix.Unmount(at, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err == nil || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EPERM) {
		return nil // EPERM: who may not unmount has not mounted
	}
	return fmt.Errorf("unmount %s: %w", at, err)
}

// removeRunDir removes what an attempt has in its directory, and no file that is
// mounted there.
func removeRunDir(dir string) error {
	if err := unbindFile(filepath.Join(dir, carDir, inputcache.CAR)); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}
